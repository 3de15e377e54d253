package cli_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

// What a command prints of others' words cannot steer the terminal, in its
// output and in its error.
func TestPlainOutput(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"letters of any script", "Tür 門", "Tür 門"},
		{"escape sequence", "\x1b]0;owned\x07\x1b[31mred", "?]0;owned??[31mred"},
		{"carriage return", "a\rb", "a?b"},
		{"C1 control, encoded", "a\u009b31mb", "a?31mb"},
		{"C1 control, as a byte", "a\x9b31mb", "a?31mb"},
		{"text turned around", "a\u202eb", "a?b"},
		{"tab and line break", "a\tb\nc", "a\tb\nc"},
	} {
		var out, errs bytes.Buffer
		root := &cobra.Command{Use: "it", RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprint(c.OutOrStdout(), row.text)
			return fmt.Errorf("reading %s", row.text)
		}}
		cli.Main(root, nil, &out, &errs)
		if out.String() != row.want {
			t.Errorf("%s: printed %q, want %q", row.name, out.String(), row.want)
		}
		if bytes.ContainsAny(errs.Bytes(), "\x1b\r\x9b\x07") {
			t.Errorf("%s: the error is %q, want no control characters", row.name, errs.String())
		}
		if bytes.Count(errs.Bytes(), []byte("\n")) != 1 {
			t.Errorf("%s: the error is %q, want one line", row.name, errs.String())
		}
	}
}

func TestOneLine(t *testing.T) {
	if got, want := cli.OneLine("a\n192.0.2.66\tours\x1b"), "a?192.0.2.66?ours?"; got != want {
		t.Errorf("OneLine = %q, want %q", got, want)
	}
}
