// Package cli is what the commands share: how errors become one line and
// an exit code, and how the manual pages are made from the help texts.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"latchkey/internal/version"
)

// Exit codes of every latchkey command.
const (
	Failed   = 1  // anything not named below
	WrongKey = 2  // a passphrase or key opens nothing
	Rejected = 3  // a LUKS header breaks our rules
	Refused  = 4  // the KMS said no
	Waiting  = 5  // nothing is done yet: others must say the same
	Usage    = 64 // EX_USAGE of sysexits.h
)

// Exit is an error with an exit code of its own.
type Exit struct {
	Code int
	Err  error
}

func (e *Exit) Error() string { return e.Err.Error() }
func (e *Exit) Unwrap() error { return e.Err }

// Usagef is a usage error: exit code 64.
func Usagef(format string, args ...any) error {
	return &Exit{Usage, fmt.Errorf(format, args...)}
}

// inner is what errors of flags say of strconv's functions.
var inner = regexp.MustCompile(`strconv\.(?:Parse[A-Za-z]+|Atoi): parsing "[^"]*": `)

// Main runs root with args and returns the exit code. An error is
// printed to stderr as one line, prefixed with the command's name. Control
// characters in what is printed become "?". Output that could not be written
// is an error, also where a command did not look.
func Main(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Version = version.String()
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		text := inner.ReplaceAllString(err.Error(), "")
		return Usagef("%s (see %s --help)", text, c.CommandPath())
	})

	out := &keptWriter{to: plainWriter{stdout}}
	stderr = plainWriter{stderr}
	root.AddCommand(manCommand(root))
	textsOnce(root)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.Execute()
	if lost := out.failed(); err == nil && lost != nil {
		err = fmt.Errorf("writing the output: %w", lost)
	}
	if err == nil {
		return 0
	}

	if errors.Is(err, context.Canceled) { // nothing but a signal cancels
		fmt.Fprintf(stderr, "%s: interrupted\n", root.Name())
		return Failed
	}
	fmt.Fprintf(stderr, "%s: %s\n", root.Name(), strings.ReplaceAll(err.Error(), "\n", "; "))
	if exit, ok := errors.AsType[*Exit](err); ok {
		return exit.Code
	}
	return Failed
}

// Args makes a positional-argument check answer with a usage error.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return Usagef("%s (see %s --help)", wanted(c, args), c.CommandPath())
		}
		return nil
	}
}

// wanted says in words what cobra says as "accepts 1 arg(s), received 0":
// the names that the usage line has are what is missing.
func wanted(c *cobra.Command, args []string) string {
	_, names, _ := strings.Cut(c.Use, " ")
	switch {
	case len(args) > 0 && slices.ContainsFunc(c.Commands(), commandOfOurs):
		return fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
	case names == "":
		return fmt.Sprintf("%s takes no arguments, got %q", c.CommandPath(), args)
	case len(args) == 0:
		return fmt.Sprintf("%s wants %s", c.CommandPath(), names)
	}
	return fmt.Sprintf("%s wants %s, got %q", c.CommandPath(), names, args)
}

// commandOfOurs tells a command from those that cobra and we add to each.
func commandOfOurs(c *cobra.Command) bool {
	return !slices.Contains([]string{"help", "completion", "man"}, c.Name())
}

// Group is the RunE of a command that only has subcommands.
func Group(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unknown command %q for %q%s (see %s --help)", args[0], c.CommandPath(), suggest(c, args[0]), c.CommandPath())
	}
	return c.Help()
}

// suggest names the command that was probably meant: one of this group that
// is spelled like it, or the same word in another group.
func suggest(c *cobra.Command, word string) string {
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(word); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", c.CommandPath()+" "+near[0])
	}
	for _, group := range c.Root().Commands() {
		for _, sub := range group.Commands() {
			if sub.Name() == word && !sub.Hidden {
				return fmt.Sprintf("; did you mean %q?", sub.CommandPath())
			}
		}
	}
	return ""
}

func manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Hidden: true, Args: Args(cobra.ExactArgs(1)),
		Short: "Write the manual pages into a directory",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "latchkey", Manual: "latchkey"}, args[0])
		},
	}
}
