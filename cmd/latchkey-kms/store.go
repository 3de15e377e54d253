package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/server"
)

func storeCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "store", Short: "Back up, check and restore the database", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
	}
	c.AddCommand(storeBackup(o), storeCheck(o), storeRestore(o))
	return c
}

func storeBackup(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write a backup of the database", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Writes one consistent copy while the server runs. The wrapping key is not in
it: keep that elsewhere, since whoever has both has every key.`,
		Example: "  latchkey-kms store backup /backup/kms-$(date +%F).db",
		RunE: func(c *cobra.Command, args []string) error {
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("writing the backup: %w", err)
			}
			var size counter
			err = o.call(c.Context(), "GET", "/v1/backup", nil, nil, io.MultiWriter(f, &size))
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
			return o.show(c, map[string]any{"file": args[0], "bytes": int64(size)}, func() {
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

func storeCheck(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Verify the database and the audit log", Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.check(c) },
	}
}

func storeRestore(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the database's place", Args: cli.Args(cobra.ExactArgs(1)),
		Long: `Verifies a backup and puts it in place of the database, which is kept beside it.
A server refuses an old copy that was put there by other means. What was
decided since the backup is forgotten: look for machines that were quarantined
or deleted and secrets that were rotated since.`,
		Example: "  systemctl stop latchkey-kms && latchkey-kms store restore /backup/kms-2026-05-01.db",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := o.restore(c.Context(), args[0])
			if err != nil {
				return err
			}
			return o.show(c, r, func() {
				fmt.Fprintf(c.OutOrStdout(), "restored %d records; the database before is %s\n", r.Records, o.before())
			})
		},
	}
}

func (o *options) before() string { return o.database() + ".before-restore" }

// restore opens the copy as a server would, under a mark that lets it in,
// then lifts its epoch over that of the database it replaces.
func (o *options) restore(ctx context.Context, from string) (r server.Checked, err error) {
	current, err := o.lockCurrent(ctx)
	if err != nil {
		return r, err
	}
	if current != nil {
		defer current.Close()
	}
	mark, err := o.mark().Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // none on a host that is new
		return r, fmt.Errorf("restoring: %w", err)
	}
	copyPath := filepath.Join(o.data, ".restore.db")
	defer os.Remove(copyPath)
	if err := copyFile(from, copyPath); err != nil {
		return r, fmt.Errorf("restoring: %w", err)
	}
	s, err := o.openFile(copyPath, &freeMark{}, server.Approve, slog.New(slog.DiscardHandler))
	if err != nil {
		return r, fmt.Errorf("restoring %s: %w", from, err)
	}
	defer s.Close()
	if r, err = s.Restored(ctx, mark); err != nil {
		return r, err
	}
	if err := os.Rename(o.database(), o.before()); err != nil && !os.IsNotExist(err) {
		return r, err
	}
	if err := os.Rename(copyPath, o.database()); err != nil {
		return r, err
	}
	return r, o.mark().Write(r.Epoch)
}

// lockCurrent makes sure that no server runs on the database to replace.
// One that cannot be opened for another reason may be replaced: that is
// what restoring is for.
func (o *options) lockCurrent(ctx context.Context) (*server.Server, error) {
	a, err := o.running(ctx)
	if err != nil {
		return nil, err
	}
	if a {
		return nil, fmt.Errorf("restoring: the server is running; stop it first")
	}
	s, err := o.open(server.Approve, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil
	}
	return s, nil
}

// freeMark lets any epoch in.
type freeMark struct{ at uint64 }

func (m *freeMark) Read() (uint64, error) { return m.at, nil }
func (m *freeMark) Write(n uint64) error  { m.at = n; return nil }

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	if closing := out.Close(); err == nil {
		err = closing
	}
	return err
}
