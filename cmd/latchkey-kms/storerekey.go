package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/admin"
	"latchkey/kms/operator"
)

func storeRekey(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "rekey", Short: "Change the key that encrypts the database's records", Args: cli.Args(cobra.NoArgs),
		Long: `Makes a new data key, which encrypts what is written from then on, and encrypts all
records again, while the server answers machines. What is cut off goes on: by itself
when the server starts, or by this command. At the end the old key is removed.

Servers that share the store get the new key by asking for the wrapping key as they
do at a start; it is used once all of them have it. Where people keep the wrapping
key, in shares, stop the server and run this, then start the others again.

Backups of before are opened by what opened them before. To be rid of a wrapping
key that others may have, change that first: "wrapping change", then this.`,
		Example: "  latchkey-kms store rekey",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := ask.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			said := c.OutOrStdout()
			if out.json {
				said = io.Discard
			}
			s, err := rekey(c.Context(), client, said)
			if err != nil {
				return err
			}
			return out.show(c, s, func() {})
		},
	}
}

// rekey has the data key changed, and says how far it is.
func rekey(ctx context.Context, client *operator.Client, out io.Writer) (s admin.DataKeyState, err error) {
	var query url.Values
	onward, last, begun := url.Values{"continue": {"true"}}, "", false
	for ; ; query = onward {
		s = admin.DataKeyState{}
		if err := client.Call(ctx, "POST", "/v1/store/rekey", query, nil, &s); err != nil {
			return s, err
		}
		if query == nil {
			line := "the data key is being changed already; this follows it"
			if begun = s.Begun; begun {
				line = "began to change the data key"
			}
			fmt.Fprintln(out, line)
		}
		s.Begun = begun
		if s.Change.From == 0 {
			fmt.Fprintf(out, "done: data key %d encrypts all records\n", s.Change.To)
			return s, nil
		}
		line := fmt.Sprintf("from data key %d to %d: %d records are left", s.Change.From, s.Change.To, s.Change.Left)
		if s.Change.Waiting != "" {
			line += "; waiting: " + s.Change.Waiting
		}
		if line != last {
			fmt.Fprintln(out, line)
		}
		if last = line; s.Change.Waiting == "" {
			continue
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func storeKeys(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "keys", Short: "Show the keys that encrypt the database's records", Args: cli.Args(cobra.NoArgs),
		Long: `Shows the data keys, how often each has encrypted a record, of 2^32 times that
AES-GCM allows, and how far a change by "store rekey" is.`,
		Example: "  latchkey-kms store keys",
		RunE: func(c *cobra.Command, _ []string) error {
			var s admin.DataKeyState
			if err := ask.call(c.Context(), "GET", "/v1/store/keys", nil, nil, &s); err != nil {
				return err
			}
			return out.show(c, s, func() {
				w := c.OutOrStdout()
				for _, k := range s.Keys {
					switch {
					case k.Sealing:
						fmt.Fprintf(w, "data key %d%s: used %d times, %.3g %% of what it may\n", k.ID, madeAt(k.Made), k.Seals, 100*float64(k.Seals)/float64(k.Limit))
					case k.ID == s.Change.To: // until all servers have it
						fmt.Fprintf(w, "data key %d%s: encrypts nothing yet\n", k.ID, madeAt(k.Made))
					default: // how often it did is not known any more
						fmt.Fprintf(w, "data key %d%s: encrypts nothing more\n", k.ID, madeAt(k.Made))
					}
				}
				if s.Change.From != 0 {
					fmt.Fprintf(w, "being changed to %d: %d records are left\n", s.Change.To, s.Change.Left)
				}
			})
		},
	}
}

// madeAt says when a key was made, if that is known.
func madeAt(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return ", of " + time.Unix(seconds, 0).UTC().Format(time.DateOnly)
}
