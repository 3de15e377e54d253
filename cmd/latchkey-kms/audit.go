package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"

	"latchkey/kms/ledger"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

func auditCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Read and verify the audit log", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `Every release of a key and every change is in the audit log before it takes
effect. Each event contains the hash of the one before, so that tampering
shows.`,
	}
	c.AddCommand(auditShow(ask, out), auditVerify(ask, out))
	return c
}

func auditShow(ask *asker, out *output) *cobra.Command {
	var from uint64
	c := &cobra.Command{
		Use: "show", Short: "Print the audit log", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms audit show --from 1200",
		RunE: func(c *cobra.Command, _ []string) error {
			all := []ledger.Event{}
			for next := from; ; {
				var page []ledger.Event
				if err := ask.call(c.Context(), "GET", "/v1/audit", url.Values{"from": {strconv.FormatUint(next, 10)}}, nil, &page); err != nil {
					return err
				}

				if len(page) == 0 {
					break
				}
				if !out.json {
					printEvents(c.OutOrStdout(), page)
				} else {
					all = append(all, page...)
				}

				next = page[len(page)-1].Seq + 1
			}
			return out.show(c, all, func() {})
		},
	}

	c.Flags().Uint64Var(&from, "from", 1, "number of the first event to print")
	return c
}

func printEvents(w io.Writer, events []ledger.Event) {
	for _, e := range events {
		fmt.Fprintf(w, "%d %s %s", e.Seq, e.Time.Format("2006-01-02T15:04:05Z"), e.Event)
		for _, part := range []struct{ name, value string }{{"node", e.Node}, {"status", e.Status}, {"reason", string(e.Reason)}, {"from", e.From}, {"detail", e.Detail}} {
			if part.value != "" {
				fmt.Fprintf(w, " %s=%q", part.name, part.value)
			}
		}
		for _, u := range e.Volumes {
			fmt.Fprintf(w, " volume=%s", u)
		}
		fmt.Fprintln(w)
	}
}

func auditVerify(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Verify the audit log and the database", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms audit verify",
		RunE:    func(c *cobra.Command, _ []string) error { return check(c, ask, out) },
	}
}

// check verifies everything there is, in the running server or here.
func check(c *cobra.Command, ask *asker, out *output) error {
	var r ledger.Checked
	if err := ask.call(c.Context(), "GET", "/v1/check", nil, nil, &r); err != nil {
		return err
	}
	return out.show(c, r, func() {
		fmt.Fprintf(c.OutOrStdout(), "ok: %d records and %d audit events verified, epoch %d\nhead of the audit log: %s\nsignature by %s: %s\n",
			r.Records, r.Events, r.Epoch, r.Head.Hash, r.Head.Key, r.Head.Signature)
	})
}
