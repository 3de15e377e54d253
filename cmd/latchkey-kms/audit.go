package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"

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

// auditFilter says which events are printed.
type auditFilter struct {
	from               uint64
	since, event, node string
	after              time.Time // of since
}

func auditShow(ask *asker, out *output) *cobra.Command {
	var f auditFilter
	c := &cobra.Command{
		Use: "show", Short: "Print the audit log", Args: cli.Args(cobra.NoArgs),
		Long: `Prints the events of the audit log, oldest first. With several of --since,
--event and --node an event must match all of them.`,
		Example: `  latchkey-kms audit show --from 1200
  latchkey-kms audit show --since 24h --event quarantine
  latchkey-kms audit show --since 2026-11-22T06:00:00Z --node 6f3c99a1`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.parse(time.Now()); err != nil {
				return err
			}
			all := []ledger.Event{}
			for next := f.from; ; {
				var page []ledger.Event
				if err := ask.call(c.Context(), "GET", "/v1/audit", url.Values{"from": {strconv.FormatUint(next, 10)}}, nil, &page); err != nil {
					return err
				}
				if len(page) == 0 {
					break
				}
				next = page[len(page)-1].Seq + 1

				page = slices.DeleteFunc(page, func(e ledger.Event) bool { return !f.matches(e) })
				if !out.json {
					printEvents(c.OutOrStdout(), page)
				} else {
					all = append(all, page...)
				}
			}
			return out.show(c, all, func() {})
		},
	}

	c.Flags().Uint64Var(&f.from, "from", 1, "number of the first event to print")
	c.Flags().StringVar(&f.since, "since", "", "only events since then: 24h, 90d, or 2026-11-22T06:00:00Z")
	c.Flags().StringVar(&f.event, "event", "", "only events of this name: get, approve, quarantine")
	c.Flags().StringVar(&f.node, "node", "", "only events of the machine whose id, TPMHash or UUID begins so")
	return c
}

// parse reads --since, a time or a time ago.
func (f *auditFilter) parse(now time.Time) (err error) {
	if f.since == "" {
		return nil
	}
	if f.after, err = time.Parse(time.RFC3339, f.since); err == nil {
		return nil
	}
	ago, err := policy.ParseDuration(f.since)
	if err != nil {
		return cli.Usagef("--since %q: want a time ago, as 24h or 90d, or a time, as 2026-11-22T06:00:00Z", f.since)
	}
	f.after = now.Add(-time.Duration(ago))
	return nil
}

func (f *auditFilter) matches(e ledger.Event) bool {
	return !e.Time.Before(f.after) && (f.event == "" || e.Event == f.event) && strings.HasPrefix(e.Node, f.node)
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
	ask.warn(c.ErrOrStderr())
	return out.show(c, r, func() {
		fmt.Fprintf(c.OutOrStdout(), "ok: %d records and %d audit events verified, epoch %d\nhead of the audit log: %s\nsignature by %s: %s\n",
			r.Records, r.Events, r.Epoch, r.Head.Hash, r.Head.Key, r.Head.Signature)
	})
}
