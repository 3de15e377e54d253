//go:build !tls

package main

import "latchkey/boot/worker"

var (
	secure worker.TLS
	kairos worker.KairosSource
)
