package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"

	"latchkey/kms/history"
	"latchkey/kms/ledger"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

func auditCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Read, verify, archive and export the audit log", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `Every release of a key and every change is in the audit log before it takes
effect. Each event contains the hash of the one before, so that tampering
shows.

The log is sealed in segments, each with a signed checkpoint over all events so
far. Old segments can be archived as files and removed from the store
("audit: keep" in the configuration); their checkpoints stay.`,
	}
	c.AddCommand(auditShow(ask, out), auditVerify(ask, out), auditSegments(ask, out), auditSeal(ask, out), auditProve(ask, out), auditArchive(ask, out), auditExport(ask))
	return c
}

func auditShow(ask *asker, out *output) *cobra.Command {
	var f auditFilter
	c := &cobra.Command{
		Use: "show", Short: "Print the audit log", Args: cli.Args(cobra.NoArgs),
		Long: `Prints the events of the audit log, oldest first. With several of --since,
--until, --event, --node and --actor an event must match all of them.`,
		Example: `  latchkey-kms audit show --from 1200
  latchkey-kms audit show --since 24h --event quarantine
  latchkey-kms audit show --since 2026-11-22T06:00:00Z --node 6f3c99a1`,
		RunE: func(c *cobra.Command, _ []string) error {
			all := []ledger.Event{}
			err := f.each(c.Context(), ask, func(page []ledger.Event) error {
				if !out.json {
					printEvents(c.OutOrStdout(), page)
				} else {
					all = append(all, page...)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return out.show(c, all, func() {})
		},
	}
	f.add(c.Flags())
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

func auditSegments(ask *asker, out *output) *cobra.Command {
	var checkpoint bool
	c := &cobra.Command{
		Use: "segments", Short: "List the sealed segments and their checkpoints", Args: cli.Args(cobra.NoArgs),
		Long: `Lists the sealed segments of the audit log, oldest first; "removed" are those
whose events are no longer in the store.

With --checkpoint it prints the newest checkpoint, or one of each log where
several servers share the store: a signed note (C2SP tlog-checkpoint). Keep it
elsewhere, and "audit verify --checkpoint" tells later whether the log still
begins with what it covers.`,
		Example: `  latchkey-kms audit segments
  latchkey-kms audit segments --checkpoint > kms-$(date +%F).checkpoint`,
		RunE: func(c *cobra.Command, _ []string) error {
			all := []ledger.Segment{}
			if err := ask.call(c.Context(), "GET", "/v1/audit/segments", nil, nil, &all); err != nil {
				return err
			}
			if checkpoint {
				for i, s := range all {
					if i+1 == len(all) || all[i+1].Server != s.Server {
						fmt.Fprint(c.OutOrStdout(), s.Checkpoint)
					}
				}
				return nil
			}
			return out.show(c, all, func() { printSegments(c.OutOrStdout(), all) })
		},
	}
	c.Flags().BoolVar(&checkpoint, "checkpoint", false, "print the newest checkpoint instead")
	return c
}

func printSegments(out io.Writer, all []ledger.Segment) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "SERVER\tSEGMENT\tEVENTS\tFROM\tTO\tBYTES\tWHERE")
	for _, s := range all {
		where, server := "store", s.Server
		if s.Removed {
			where = "removed"
		}
		if server == "" {
			server = "-"
		}
		fmt.Fprintf(w, "%s\t%d\t%d-%d\t%s\t%s\t%d\t%s\n", server, s.Number, s.First, s.Last, s.Began.Format("2006-01-02T15:04:05Z"), s.Ended.Format("2006-01-02T15:04:05Z"), s.Bytes, where)
	}
}

func auditSeal(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "seal", Short: "Seal what was logged since the last checkpoint", Args: cli.Args(cobra.NoArgs),
		Long: `Makes a checkpoint now. The server makes one by itself when there are 10,000
events, and once a day ("audit: checkpoint-every").`,
		Example: "  latchkey-kms audit seal",
		RunE: func(c *cobra.Command, _ []string) error {
			done := []ledger.Segment{}
			if err := ask.call(c.Context(), "POST", "/v1/audit/seal", nil, nil, &done); err != nil {
				return err
			}
			return out.show(c, done, func() {
				for _, s := range done {
					fmt.Fprintf(c.OutOrStdout(), "sealed segment %d, events %d to %d\n", s.Number, s.First, s.Last)
				}
				if len(done) == 0 {
					fmt.Fprintln(c.OutOrStdout(), "nothing was logged since the last checkpoint")
				}
			})
		},
	}
}

func auditProve(ask *asker, out *output) *cobra.Command {
	var of, file string
	c := &cobra.Command{
		Use: "prove NUMBER", Short: "Prove that an event is in the log", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Writes a proof that a checkpoint covers the event of this number (C2SP
tlog-proof). The event, the checkpoint and the cosignatures that it has are in
it: who knows the KMS' public key needs nothing else to verify it, with
"audit verify --proof" or another program for such proofs.`,
		Example: `  latchkey-kms audit prove 1200 --output 1200.tlog-proof
  latchkey-kms audit verify --proof 1200.tlog-proof --pin lk1:hWQyMVh…`,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || n == 0 {
				return cli.Usagef("%q is no number of an event: want 1, 2, …", args[0])
			}
			var p ledger.Proven
			query := url.Values{"number": {args[0]}}
			if of != "" {
				query.Set("server", of)
			}
			if err := ask.call(c.Context(), "GET", "/v1/audit/proof", query, nil, &p); err != nil {
				return err
			}
			if _, err := history.ParseProof(p.Proof); err != nil {
				return err
			}
			if file != "" {
				return os.WriteFile(file, []byte(p.Proof), 0o644)
			}
			return out.show(c, p, func() { fmt.Fprint(c.OutOrStdout(), p.Proof) })
		},
	}
	c.Flags().StringVar(&of, "of", "", "server that logged it, where several share the store: eight digits, as in its events")
	c.Flags().StringVar(&file, "output", "", "file to write instead of printing")
	return c
}
