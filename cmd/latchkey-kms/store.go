package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
)

func storeCommand(flags *config.Flags, ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "store", Short: "Back up, check, restore and move the database", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
	}
	c.AddCommand(storeBackup(ask, out), storeCheck(ask, out), storeRestore(flags, out), storeMigrate(flags, out))
	return c
}

func storeBackup(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write a backup of the database", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Writes one consistent copy while the server runs, whatever the store is: a file
that any store takes with "store restore". The wrapping key is not in it: keep that elsewhere, since whoever has both has every key.`,
		Example: "  latchkey-kms store backup /backup/kms-$(date +%F).db",
		RunE: func(c *cobra.Command, args []string) error {
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("writing the backup: %w", err)
			}

			var size counter
			err = ask.call(c.Context(), "GET", "/v1/backup", nil, nil, io.MultiWriter(f, &size))
			if err == nil {
				err = f.Sync()
			}
			if closing := f.Close(); err == nil {
				err = closing
			}
			if err != nil {
				os.Remove(args[0])
				return fmt.Errorf("writing the backup: %w", err)
			}

			return out.show(c, map[string]any{"file": args[0], "bytes": int64(size)}, func() {
				fmt.Fprintf(c.OutOrStdout(), "wrote %d bytes to %s\n", int64(size), args[0])
			})
		},
	}
}

type counter int64

func (n *counter) Write(b []byte) (int, error) {
	*n += counter(len(b))
	return len(b), nil
}

func storeCheck(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Verify the database and the audit log", Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return check(c, ask, out) },
	}
}

func storeRestore(flags *config.Flags, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the database's place", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Verifies a backup and puts it in place of the database, which is kept beside it.
A server refuses an old copy that was put there by other means. What was
decided since the backup is forgotten: look for machines that were quarantined
or deleted and secrets that were rotated since.

In a store that several servers share, stop all of them first.`,
		Example: "  systemctl stop latchkey-kms && latchkey-kms store restore /backup/kms-2026-05-01.db",
		RunE: func(c *cobra.Command, args []string) error {
			h, err := homeOf(flags)
			if err != nil {
				return err
			}
			r, before, err := h.Restore(c.Context(), args[0])
			if err != nil {
				return err
			}
			return out.show(c, r, func() {
				fmt.Fprintf(c.OutOrStdout(), "restored %d records; the database before is %s\n", r.Records, before)
			})
		},
	}
}
