package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

// TestOnce: a flag that takes one text takes one, whichever command has it;
// a list is said again as often as one likes.
func TestOnce(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string // the error, or what the command was given
	}{
		{[]string{"--initrd", "a"}, "a [] root"},
		{[]string{"--initrd", "a", "--initrd", "a"}, "a [] root"},
		{[]string{"--initrd", "a", "--initrd", "b"}, `it: invalid argument "b" for "--initrd" flag: it was "a" already: the flag takes one (see it show --help)`},
		{[]string{"--initrd", "", "--initrd", "b"}, `it: invalid argument "b" for "--initrd" flag: it was "" already: the flag takes one (see it show --help)`},
		{[]string{"--initrd", "a\nb"}, `it: invalid argument "a\nb" for "--initrd" flag: a line break in it (see it show --help)`},
		{[]string{"--word", "a", "--word", "b"}, " [a b] root"},
		{[]string{"--dir", "x", "--dir", "y"}, `it: invalid argument "y" for "--dir" flag: it was "x" already: the flag takes one (see it show --help)`},
	} {
		root := &cobra.Command{Use: "it"}
		dir := root.PersistentFlags().String("dir", "root", "")
		show := &cobra.Command{Use: "show"}
		initrd := show.Flags().String("initrd", "", "")
		var words []string
		show.Flags().Var(cli.List(&words), "word", "")
		show.RunE = func(c *cobra.Command, _ []string) error {
			c.Printf("%s %v %s\n", *initrd, words, *dir)
			return nil
		}
		root.AddCommand(show)

		var out bytes.Buffer
		cli.Main(root, append([]string{"show"}, row.args...), &out, &out)
		if got := strings.TrimSuffix(out.String(), "\n"); got != row.want {
			t.Errorf("%q: %q, want %q", row.args, got, row.want)
		}
	}
}
