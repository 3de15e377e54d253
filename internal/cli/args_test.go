package cli_test

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

// TestArgs: a wrong number of arguments is a usage error that names what is
// wanted as the usage line does.
func TestArgs(t *testing.T) {
	for _, row := range []struct {
		use   string
		check cobra.PositionalArgs
		args  []string
		code  int
		want  string
	}{
		{"show FILE", cobra.ExactArgs(1), []string{"a"}, 0, ""},
		{"show FILE", cobra.ExactArgs(1), nil, cli.Usage, "it: it show wants FILE (see it show --help)\n"},
		{"show FILE", cobra.ExactArgs(1), []string{"a", "b"}, cli.Usage, "it: it show wants FILE, got [\"a\" \"b\"] (see it show --help)\n"},
		{"show", cobra.NoArgs, []string{"a"}, cli.Usage, "it: it show takes no arguments, got [\"a\"] (see it show --help)\n"},
		{"show [FILE]", cobra.MaximumNArgs(1), []string{"a", "b"}, cli.Usage, "it: it show wants [FILE], got [\"a\" \"b\"] (see it show --help)\n"},
	} {
		root := &cobra.Command{Use: "it"}
		root.AddCommand(&cobra.Command{Use: row.use, Args: cli.Args(row.check), RunE: func(*cobra.Command, []string) error { return nil }})
		var out, errs bytes.Buffer
		if code := cli.Main(root, append([]string{"show"}, row.args...), &out, &errs); code != row.code || errs.String() != row.want {
			t.Errorf("%s with %q: exit %d, %q, want %d, %q", row.use, row.args, code, errs.String(), row.code, row.want)
		}
	}
}
