package mirror

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// Backup implements store.Store. It writes a file of bolt's, whatever the
// service is: each store takes it, and bolt opens it as it is.
func (d *DB) Backup(w io.Writer) error {
	dir, err := os.MkdirTemp("", "latchkey-backup")
	if err != nil {
		return fmt.Errorf("making a backup: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "kms.db")
	if err := d.writeBackup(path); err != nil {
		return fmt.Errorf("making a backup: %w", err)
	}

	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func (d *DB) writeBackup(path string) error {
	file, err := bolt.Open(path, true, d.c.Tables)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(d.c.Tables), func(t string) bool { return slices.Contains(d.c.Passing, t) })
	err = store.Copy(context.Background(), d, file, kept)
	if closing := file.Close(); err == nil {
		err = closing
	}
	return err
}
