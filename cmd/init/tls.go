//go:build tls

package main

import "latchkey/internal/tlsclient"

// secure is the one thing that latchkey-init-tls has and latchkey-init has
// not.
var secure = tlsclient.Client
