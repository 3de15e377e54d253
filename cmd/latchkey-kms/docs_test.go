package main

import (
	"testing"

	"latchkey/internal/docexample"
)

// TestDocs: each call of latchkey-kms in README and docs is one that exists.
func TestDocs(t *testing.T) {
	docexample.CheckCommands(t, newRoot)
}
