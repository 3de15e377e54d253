package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"latchkey/kms/server/lk1"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

func nodeWatch(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Print machines as they come to wait for you",
		Long: `Prints the machines that are pending now or booted something that was not
approved, then each one that comes to be so, until it is interrupted. It needs a running server. With --json each line is
one machine.`,
		Example: "  latchkey-kms node watch --json",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			client, err := ask.client(ctx)
			if err != nil {
				return err
			}
			defer client.Close()
			err = client.Watch(ctx, func(n lk1.Node) error {
				if out.json {
					return json.NewEncoder(c.OutOrStdout()).Encode(n)
				}
				says := ""
				if n.Says != "" {
					says = ": " + n.Says
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s from %s: %s (%s)%s\n", n.Last.Local().Format("15:04:05"), n.Words, n.LastFrom, n.LastStatus, n.LastReason, says)
				return err
			})
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
}
