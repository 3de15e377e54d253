package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"latchkey/internal/cli"
	"latchkey/kms/operator"
	"latchkey/kms/wrapping"
)

// unsealCommand gives a share of the wrapping key to a server that waits.
func unsealCommand(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "unseal", Short: "Give a sealed server your share of its wrapping key",
		Long: `Gives a server that has started sealed a share of its wrapping key. It asks for
the share at the terminal, or reads it from standard input: one line each. A
wrong share is said at once. When enough people have given theirs, the server
serves; shares that are not completed within ten minutes are forgotten. Who gave
which share is in the audit log.

--server gives it over HTTPS, from where you are. No token is needed: the share
is the proof.`,
		Example: `  latchkey-kms unseal
  age --decrypt --identity key.txt share-2-of-5-0a1b2c3d4e5f.age | latchkey-kms unseal --server https://kms.example.org:7743`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := ask.sealed(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			var p wrapping.Progress
			if err := client.Call(c.Context(), "GET", operator.UnsealPath, nil, nil, &p); err != nil {
				return operator.NotSealed(err)
			}
			prompt := prompter(c)
			for p.Have < p.Need {
				share, err := prompt(fmt.Sprintf("your share; %d of %d are there (set %s)", p.Have, p.Need, p.Set))
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
				if err := client.Call(c.Context(), "POST", operator.UnsealPath, nil, operator.Share{Share: share}, &p); err != nil {
					return err
				}
				if terminal(c) {
					break // the next person runs this himself
				}
			}
			return out.show(c, p, func() { say(c, p) })
		},
	}
}

func say(c *cobra.Command, p wrapping.Progress) {
	if p.Have < p.Need {
		fmt.Fprintf(c.OutOrStdout(), "%d of %d shares are there\n", p.Have, p.Need)
		return
	}
	fmt.Fprintf(c.OutOrStdout(), "all %d shares are there; the server starts to serve\n", p.Need)
}

// sealed is for a server that may be sealed: nothing is opened here.
func (a *asker) sealed(ctx context.Context) (*operator.Client, error) {
	if a.remote.Server != "" {
		a.remote.Nobody = true
		return a.remote.Client()
	}
	h, err := homeOf(a.flags)
	if err != nil {
		return nil, err
	}
	return operator.Running(ctx, h)
}

// prompter asks who is at the terminal, without showing what is typed, or
// reads lines of standard input.
func prompter(c *cobra.Command) func(why string) (string, error) {
	lines := bufio.NewReader(c.InOrStdin())
	return func(why string) (string, error) {
		if f, ok := c.InOrStdin().(*os.File); ok && terminal(c) {
			fmt.Fprintf(c.ErrOrStderr(), "%s: ", why)
			defer fmt.Fprintln(c.ErrOrStderr())
			defer quiet(int(f.Fd()))()
		}
		for {
			line, err := lines.ReadString('\n')
			if text := strings.TrimSpace(line); text != "" {
				return text, nil
			}
			if err != nil {
				return "", err
			}
		}
	}
}

// quiet switches a terminal's echo off, until the function that it returns
// is called.
func quiet(fd int) (loud func()) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	unix.IoctlSetTermios(fd, unix.TCSETS, &silent)
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, before) }
}
