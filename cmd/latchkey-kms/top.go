package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"latchkey/internal/cli"
	"latchkey/kms/operator/top"
)

func topCommand(ask *asker, _ *output) *cobra.Command {
	return &cobra.Command{
		Use: "top", Short: "Watch machines in a terminal, and approve them",
		Long: `Shows, in a terminal, which machines wait for you and what the server does. Enter
looks at a machine: its six words, what it booted, what approving it would give
it. Compare the words with the machine's console; then one key approves exactly
what is on the screen. If the machine showed something else meanwhile, nothing
is done, and it is shown again.

It needs a running server. What it changes is in the audit log as with the
other commands.`,
		Example: "  latchkey-kms top\n  latchkey-kms top --server https://kms.example.org:7743 --token-file me.token",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if term := os.Getenv("TERM"); !terminal(c) || !tty(os.Stdout.Fd()) || term == "" || term == "dumb" {
				return cli.Usagef("top is for a terminal; for scripts there are node watch and audit show, with --json")
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM)
			defer stop()
			client, err := ask.client(ctx)
			if err != nil {
				return err
			}
			defer client.Close()
			if !client.Live {
				return errors.New("watching: no server runs here")
			}
			title := ask.remote.Server
			if title == "" {
				title = "this host"
			}
			return top.Run(ctx, client, title, printNode, c.InOrStdin(), os.Stdout)
		},
	}
}

func tty(fd uintptr) bool {
	_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
	return err == nil
}
