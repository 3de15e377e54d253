package server_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"latchkey/kms"
	"latchkey/kms/store"
)

// full is a disk without room.
type full struct {
	store.Store
	on atomic.Bool
}

var errFull = errors.New("no space left on device")

func (d *full) Update(ctx context.Context, f func(store.Tx) error) error {
	if !d.on.Load() {
		return d.Store.Update(ctx, f)
	}
	return d.Store.Update(ctx, func(tx store.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return errFull // at the commit
	})
}

// F23: no release without its audit record on disk.
func TestFullDiskReleasesNothing(t *testing.T) {
	disk := &full{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			disk.Store = st
			return disk
		}
	})

	node := f.approved()
	disk.on.Store(true)
	if g, err := f.get(node); code(err) != kms.CodeBusy {
		t.Errorf("Get on a full disk = %v, %v, want code %s", g, err, kms.CodeBusy)
	}
	if f.events("get") != 0 {
		t.Error("a grant is in the log that never happened")
	}

	disk.on.Store(false)
	f.mustGet(node)
	if f.events("get") != 1 {
		t.Error("the grant is not in the log")
	}
}
