package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/docexample"
)

func root(t *testing.T) *cobra.Command { return command(t.Context(), io.Discard) }

// TestDocs: each call of latchkey-agent in README and docs is one that exists.
func TestDocs(t *testing.T) {
	docexample.CheckCommands(t, func() *cobra.Command { return root(t) })
}

// Every command teaches: what it does, an example, and what flags are for, in
// lines of 80 columns.
func TestHelpTeaches(t *testing.T) {
	for _, c := range append(root(t).Commands(), root(t)) {
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s has no short or long help, or no example", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: flag --%s has no usage", c.CommandPath(), f.Name)
			}
		})
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if n := len(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: a help line has %d columns, want at most 80: %q", c.CommandPath(), n, line)
			}
		}
	}
}
