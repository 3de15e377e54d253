package docexample

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// CheckCommands compares what the pages say of a program with its command
// tree: the command exists, its flags do, and it takes so many arguments.
// Root makes a new tree: flags keep what was parsed.
func CheckCommands(t *testing.T, root func() *cobra.Command) {
	t.Helper()
	name := root().Name()
	commands := Commands(t, name)
	if len(commands) == 0 {
		t.Errorf("no page calls %s", name)
	}
	for _, c := range commands {
		if err := check(root(), c); err != nil {
			t.Errorf("%s: %s %s: %v", c.Where, name, strings.Join(c.Args, " "), err)
		}
	}
}

func check(root *cobra.Command, c Command) error {
	root.InitDefaultHelpFlag()
	root.Version = "1"
	root.InitDefaultVersionFlag()
	command, rest, err := root.Find(c.Args)
	if err != nil {
		return err
	}
	command.InitDefaultHelpFlag()
	if err := command.ParseFlags(rest); err != nil {
		return err
	}

	args := command.Flags().Args()
	if command.HasSubCommands() {
		return cobra.NoArgs(command, args) // a group: an argument is a command that does not exist
	}
	if c.Some {
		return nil
	}
	if err := command.ValidateArgs(args); err != nil {
		return err
	}
	return command.ValidateRequiredFlags()
}
