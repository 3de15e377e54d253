package main

import (
	"fmt"

	"latchkey/unlock/source/talos"
)

// talosSource is what the plan has to say for a token of Talos to be used.
func talosSource(k tokenReport) string {
	if k.Type == talos.TokenKMS {
		return fmt.Sprintf("talos-kms: {url: ENDPOINT, sealed: [%s]}", k.Talos.Sealed)
	}
	return fmt.Sprintf("talos-tpm2: {sealed: [%s]}", k.Talos.Sealed)
}
