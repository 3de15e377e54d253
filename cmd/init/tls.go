//go:build tls

package main

import (
	"latchkey/boot/worker"
	"latchkey/internal/tlsclient"
)

// What latchkey-init-tls has and latchkey-init has not.
var (
	secure = tlsclient.Client
	kairos = worker.Kairos
)
