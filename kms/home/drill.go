package home

import (
	"context"
	"fmt"
	"os"

	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/store/bolt"
)

// A Drill is a backup that was restored into a temporary place. Close it.
type Drill struct {
	ledger.Checked
	*server.Server
	path string
}

// Drill restores a backup as Restore does, but into a file in a directory
// that is removed afterwards. It changes nothing of the KMS.
func (h Home) Drill(ctx context.Context, from backup.Source, scratch string) (*Drill, error) {
	dir, err := os.MkdirTemp(scratch, ".drill-*") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("restoring for a drill: %w", err)
	}
	d := &Drill{path: dir}
	copied := config.Place{Kind: config.Bolt, Path: dir + "/kms.db", AnyMode: true}
	if err := from.Fetch(ctx, copied.Path); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("restoring %s: %w", from, err)
	}
	if err := d.open(ctx, h, copied); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("restoring %s: %w", from, h.adviseKey(err))
	}
	return d, nil
}

func (d *Drill) open(ctx context.Context, h Home, copied config.Place) error {
	st, err := bolt.OpenAnyMode(copied.Path, false, server.Tables(), server.LogTables()...)
	if err != nil {
		return err
	}
	if d.Server, err = h.openOn(server.Config{Store: st, Mark: &freeMark{}}); err != nil {
		st.Close()
		return err
	}
	if d.Checked, err = d.Check(); err != nil {
		d.Server.Close()
	}
	return err
}

// Has tells whether the backup has an event of the audit log.
func (d *Drill) Has(e ledger.Event) (has bool, err error) {
	err = d.Read(func(v ledger.View) error {
		has = v.HasEvent(e)
		return nil
	})
	return has, err
}

// Last is the number of the backup's last event.
func (d *Drill) Last() (uint64, error) {
	_, newest, err := d.AuditRange()
	return newest, err
}

// Close removes what was restored.
func (d *Drill) Close() error {
	err := d.Server.Close()
	if gone := os.RemoveAll(d.path); err == nil {
		err = gone
	}
	return err
}
