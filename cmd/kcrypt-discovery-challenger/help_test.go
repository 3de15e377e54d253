package main

import (
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/docexample"
)

func root() *cobra.Command { return command(context.Background(), &options{}) }

// TestDocs: each call in README and docs is one that exists.
func TestDocs(t *testing.T) { docexample.CheckCommands(t, root) }

// Every command teaches, in lines that fit a terminal.
func TestHelpTeaches(t *testing.T) {
	for _, c := range append(root().Commands(), root()) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.Long == "" || c.Example == "" {
			t.Errorf("%s: want a line without a period, long help and an example", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: flag --%s has no usage", c.CommandPath(), f.Name)
			}
		})
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if n := len(strings.TrimRight(line, "\n")); n > 82 {
				t.Errorf("%s: a help line has %d columns, want at most 82: %q", c.CommandPath(), n, line)
			}
		}
	}
}
