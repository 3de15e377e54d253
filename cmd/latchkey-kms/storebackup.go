package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"filippo.io/age"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/backup"
)

func storeBackup(ask *asker, out *output) *cobra.Command {
	var to []string
	c := &cobra.Command{
		Use: "backup [FILE]", Short: "Write a backup of the database", Args: cli.Args(cobra.MaximumNArgs(1)),
		Long: `Writes one consistent copy, also while the server runs. Whatever the store is,
the backup is a file that "store restore" can put into any store. The wrapping
key is not in it. Keep that elsewhere: anyone who has both has every key.

Without FILE the running server writes one to the places of its configuration
(section backup), as it does by itself every so often: verified, sealed to the
recipients that are named there, and read back.

--to seals the file with age, to a recipient whose identity is kept where no
server is; "age -d -i IDENTITY FILE" or "store restore --identity" opens it.`,
		Example: `  latchkey-kms store backup
  latchkey-kms store backup /backup/kms-$(date +%F).db
  latchkey-kms store backup --to age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p kms.db.age`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				if len(to) > 0 {
					return cli.Usagef("--to is for a FILE; recipients of the server's own backups are in its configuration: backup.to")
				}
				return backupNow(c, ask, out)
			}
			return backupTo(c, ask, out, args[0], to)
		},
	}
	c.Flags().Var(cli.List(&to), "to", "recipient of age to seal FILE to (age1…, ssh-ed25519 …); repeatable")
	return c
}

func backupNow(c *cobra.Command, ask *asker, out *output) error {
	client, err := ask.client(c.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	if !client.Live {
		return errors.New("no server runs that could write a backup to its places: start it, or name a FILE")
	}
	var made backup.Made
	if err := client.Call(c.Context(), "POST", "/v1/backups", nil, nil, &made); err != nil {
		return err
	}
	return out.show(c, made, func() {
		fmt.Fprintf(c.OutOrStdout(), "%s: %d records and %d events, epoch %d, %s\n", made.Name, made.Records, made.Events, made.Epoch, humanize.IBytes(uint64(made.Bytes)))
		for _, place := range made.Places {
			fmt.Fprintf(c.OutOrStdout(), "  written to %s, and read back\n", place)
		}
	})
}

func backupTo(c *cobra.Command, ask *asker, out *output, path string, to []string) error {
	var recipients []age.Recipient
	for _, text := range to {
		r, err := backup.ParseRecipient(text)
		if err != nil {
			return cli.Usagef("--to: %w", err)
		}
		recipients = append(recipients, r)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}

	var size counter
	err = writeBackup(c, ask, io.MultiWriter(f, &size), recipients)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("writing the backup: %w", err)
	}

	return out.show(c, map[string]any{"file": path, "bytes": int64(size)}, func() {
		fmt.Fprintf(c.OutOrStdout(), "wrote %d bytes to %s\n", int64(size), path)
		fmt.Fprintln(c.OutOrStdout(), "the wrapping key is not in it, and nothing opens it without that: keep a copy of wrapping.key, in another place")
	})
}

func writeBackup(c *cobra.Command, ask *asker, w io.Writer, to []age.Recipient) error {
	if len(to) == 0 {
		return ask.call(c.Context(), "GET", "/v1/backup", nil, nil, w)
	}
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return err
	}
	if err := ask.call(c.Context(), "GET", "/v1/backup", nil, nil, sealed); err != nil {
		return err
	}
	return sealed.Close()
}

type counter int64

func (n *counter) Write(b []byte) (int, error) {
	*n += counter(len(b))
	return len(b), nil
}

func storeBackups(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "backups", Short: "Show the backups that the server writes by itself", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms store backups",
		RunE: func(c *cobra.Command, _ []string) error {
			var st backup.Status
			if err := ask.call(c.Context(), "GET", "/v1/backups", nil, nil, &st); err != nil {
				return err
			}
			return out.show(c, st, func() { printBackups(c.OutOrStdout(), st) })
		},
	}
}

func printBackups(w io.Writer, st backup.Status) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PLACE\tNEWEST\tAGE\tSIZE")
	for _, p := range st.Places {
		switch age := time.Since(p.At).Round(time.Second); {
		case p.Away != "":
			fmt.Fprintf(t, "%s\tdoes not answer\t\t\n", p.Place)
		case p.Name == "":
			fmt.Fprintf(t, "%s\tnone\t\t\n", p.Place)
		case age < 0:
			fmt.Fprintf(t, "%s\t%s\tin the future: the clock was ahead\t%s\n", p.Place, p.Name, humanize.IBytes(uint64(p.Bytes)))
		default:
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Place, p.Name, age, humanize.IBytes(uint64(p.Bytes)))
		}
	}
	t.Flush()
	for _, p := range st.Places {
		if p.Away != "" {
			fmt.Fprintf(w, "%s: %s\n", p.Place, p.Away)
		}
	}
	if st.Every == "" {
		fmt.Fprintln(w, "written only when asked for: backup.every is not set")
	} else {
		fmt.Fprintf(w, "written every %s\n", st.Every)
	}
	if st.Why != "" {
		fmt.Fprintf(w, "the last one failed: %s\n", st.Why)
	}
}
