package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/history/archive"
	"latchkey/kms/history/export"
	"latchkey/kms/ledger"
	"latchkey/kms/operator"
)

func auditArchive(ask *asker, out *output) *cobra.Command {
	var a archive.Archive
	c := &cobra.Command{
		Use: "archive --to DIR", Short: "Write sealed segments as files", Args: cli.Args(cobra.NoArgs),
		Long: `Writes each sealed segment that is not in the folder yet: its events, one line
of JSON each, and a record with its checkpoint. What was written is read back
and verified by the checkpoint. Doing it again, also after it was cut off,
writes what is missing. What was logged since the last checkpoint is not in it:
"audit seal" makes one now.

Once a segment is archived it may be removed from the store, by "audit: keep" or
"max-size" in the configuration.`,
		Example: `  latchkey-kms audit archive --to /archive/kms
  latchkey-kms audit archive --to /archive/kms --zstd`,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.Dir == "" {
				return cli.Usagef("--to is required: the folder of the archive")
			}
			client, err := ask.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			done, err := client.Archive(c.Context(), a)
			if err != nil {
				return err
			}
			return out.show(c, done, func() {
				fmt.Fprintf(c.OutOrStdout(), "archived %d segments; %d were there\n", done.Written, done.There)
				if done.Gone > 0 {
					fmt.Fprintf(c.ErrOrStderr(), "warning: %d segments were removed from the store before they were archived here\n", done.Gone)
				}
			})
		},
	}
	c.Flags().StringVar(&a.Dir, "to", "", "folder of the archive; made if it is not there")
	c.Flags().BoolVar(&a.Zstd, "zstd", false, "compress the events")
	return c
}

func auditExport(ask *asker) *cobra.Command {
	var f auditFilter
	var form, to, ca string
	c := &cobra.Command{
		Use: "export", Short: "Give events to a collector of logs", Args: cli.Args(cobra.NoArgs),
		Long: `Prints events as lines of JSON or as syslog messages (RFC 5424), or sends them:
syslog over TCP (RFC 6587), TLS (RFC 5425) or UDP, OTLP over HTTP as JSON. The last
line on standard error says where to go on next time: --from.`,
		Example: `  latchkey-kms audit export --since 24h > events.jsonl
  latchkey-kms audit export --form syslog --to tls://logs.example.org:6514 --from 1201
  latchkey-kms audit export --form otlp --to http://127.0.0.1:4318/v1/logs`,
		RunE: func(c *cobra.Command, _ []string) error {
			sink, err := operator.Sink(c.Context(), form, to, ca, c.OutOrStdout())
			if err != nil {
				return err
			}
			sent, next := 0, f.from
			err = f.each(c.Context(), ask, func(page []ledger.Event) error {
				for _, e := range page {
					if err := sink.Put(e); err != nil {
						return err
					}
					sent, next = sent+1, e.Seq+1
				}
				return nil
			})
			if err = errors.Join(err, sink.Close()); err != nil {
				return fmt.Errorf("exporting the audit log: %w", err)
			}
			fmt.Fprintf(c.ErrOrStderr(), "exported %d events; go on with --from %d\n", sent, next)
			return nil
		},
	}
	f.add(c.Flags())
	c.Flags().StringVar(&form, "form", export.JSONL, "jsonl, syslog or otlp")
	c.Flags().StringVar(&to, "to", "", "where to send them, instead of printing: tcp://, tls:// or udp://HOST:PORT, or the URL of OTLP's logs")
	c.Flags().StringVar(&ca, "collector-ca", "", "PEM file of the CA of the collector's certificate (default: the system's CAs)")
	return c
}
