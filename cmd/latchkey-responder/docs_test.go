package main

import (
	"io"
	"testing"

	"github.com/spf13/cobra"

	"latchkey/internal/docexample"
)

// TestDocs: each call of latchkey-responder in README and docs is one that
// exists.
func TestDocs(t *testing.T) {
	docexample.CheckCommands(t, func() *cobra.Command { return command(t.Context(), io.Discard, io.Discard) })
}
