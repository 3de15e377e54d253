package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server"
)

func nodeWatch(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Print machines as they come to wait for approval",
		Long: `Prints the machines that wait for the operator now, and each that comes to
wait, until it is stopped. It needs a server that runs. With --json each line
is one machine.`,
		Example: "  latchkey-kms node watch --json",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			err := o.watchNodes(ctx, func(n server.Node) error {
				if o.json {
					return json.NewEncoder(c.OutOrStdout()).Encode(n)
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s from %s: %s (%s)\n", n.Last.Local().Format("15:04:05"), n.Words, n.LastFrom, n.LastStatus, n.LastReason)
				return err
			})
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
}

// watchNodes reads the server's events until they end.
func (o *options) watchNodes(ctx context.Context, tell func(server.Node) error) error {
	if up, err := o.running(ctx); o.remote.server == "" && (err != nil || !up) {
		return errors.Join(errors.New("watching: no server runs here"), err)
	}
	a, err := o.admin(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	reply, err := a.send(ctx, "GET", "/v1/nodes/watch", nil, http.NoBody)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return decodeReply(reply, nil)
	}

	lines := bufio.NewReader(reply.Body)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return errors.New("watching: the server ended the watch")
		}
		if err != nil {
			return fmt.Errorf("watching: %w", err)
		}

		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}

		var n server.Node
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			return fmt.Errorf("watching: %w", err)
		}

		if err := tell(n); err != nil {
			return err
		}
	}
}
