package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

// TestLostOutput: a command whose output is not all written has failed,
// though it looks at no error; help is output, too.
func TestLostOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()

	const want = "it: writing the output: write /dev/full: no space left on device\n"
	for _, args := range [][]string{nil, {"--help"}} {
		root := &cobra.Command{Use: "it", Long: "Long.", RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintln(c.OutOrStdout(), "one")
			fmt.Fprintln(c.OutOrStdout(), "two")
			return nil
		}}
		var errs bytes.Buffer
		if code := cli.Main(root, args, full, &errs); code != cli.Failed || errs.String() != want {
			t.Errorf("%q ends with %d and %q, want %d and %q", args, code, errs.String(), cli.Failed, want)
		}
	}
}

// short loses one word.
type short struct{ bytes.Buffer }

func (s *short) Write(b []byte) (int, error) {
	if string(b) == "two" {
		return 0, errors.New("lost")
	}
	return s.Buffer.Write(b)
}

// TestLostOnce: output that is written after a loss does not hide it, and a
// command's own error and code stay.
func TestLostOnce(t *testing.T) {
	var own error
	root := &cobra.Command{Use: "it", RunE: func(c *cobra.Command, _ []string) error {
		for _, word := range []string{"one", "two", "three"} {
			fmt.Fprint(c.OutOrStdout(), word)
		}
		return own
	}}
	for _, row := range []struct {
		own  error
		code int
		want string
	}{
		{nil, cli.Failed, "it: writing the output: lost\n"},
		{cli.Usagef("its own"), cli.Usage, "it: its own\n"},
	} {
		own = row.own
		var out short
		var errs bytes.Buffer
		if code := cli.Main(root, nil, &out, &errs); code != row.code || out.String() != "onethree" || errs.String() != row.want {
			t.Errorf("it ends with %d, %q, %q, want %d, %q", code, out.String(), errs.String(), row.code, row.want)
		}
	}
}
