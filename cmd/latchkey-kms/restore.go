package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"latchkey/kms/server"
	"latchkey/kms/store"
)

// restore opens the copy as a server would, under a mark that lets it in,
// and lifts its epoch over that of the database that it replaces. before is
// where that is kept.
func (o *options) restore(ctx context.Context, from string) (r server.Checked, before string, err error) {
	p, err := o.place()
	if err != nil {
		return r, "", err
	}

	if err := o.stopped(ctx, "restoring"); err != nil {
		return r, "", err
	}
	mark, err := o.mark().Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // none on a host that is new
		return r, "", fmt.Errorf("restoring: %w", err)
	}

	copied := place{kind: "bolt", path: filepath.Join(o.data, ".restore.db")}
	defer os.Remove(copied.path)
	if err := copyFile(from, copied.path); err != nil {
		return r, "", fmt.Errorf("restoring: %w", err)
	}

	if p.shared() {
		return o.restoreShared(ctx, p, copied, from, mark)
	}
	return o.restoreFile(ctx, p, copied, from, mark)
}

// restoreFile exchanges the files. A database that cannot be opened may be
// replaced: that is what restoring is for.
func (o *options) restoreFile(ctx context.Context, p, copied place, from string, mark uint64) (r server.Checked, before string, err error) {
	if current, err := o.openAt(ctx, p, o.mark(), server.Config{}); err == nil {
		defer current.Close() // nobody opens it meanwhile
	}
	if r, err = o.lift(ctx, copied, from, mark, nil); err != nil {
		return r, "", err
	}
	before = p.path + ".before-restore"
	if err := os.Rename(p.path, before); err != nil && !os.IsNotExist(err) {
		return r, "", err
	}
	if err := os.Rename(copied.path, p.path); err != nil {
		return r, "", err
	}
	return r, before, o.mark().Write(r.Epoch)
}

// restoreShared empties the store and fills it again. It is no KMS from the
// first row removed to the last one written; doing it again completes it.
func (o *options) restoreShared(ctx context.Context, p, copied place, from string, mark uint64) (r server.Checked, before string, err error) {
	st, err := o.openStore(ctx, p, true)
	if err != nil {
		return r, "", err
	}
	defer st.Close()
	if current, err := o.openOn(server.Config{Store: st, Shared: true, Mark: &freeMark{}}); err == nil {
		if c, err := current.Check(); err == nil {
			mark = max(mark, c.Epoch)
		}
	}

	before, err = o.keep(st)
	if err != nil {
		return r, "", fmt.Errorf("restoring: keeping the database before: %w", err)
	}

	r, err = o.lift(ctx, copied, from, mark, func(backup store.Store) error { return refill(ctx, backup, st) })
	if err != nil {
		return r, "", err
	}

	if err := o.verify(st, r, true); err != nil {
		return r, "", err
	}
	return r, before, o.mark().Write(r.Epoch)
}

// lift verifies a copy and lifts its epoch; then it is handed on.
func (o *options) lift(ctx context.Context, copied place, from string, mark uint64, then func(store.Store) error) (r server.Checked, err error) {
	st, err := openPlace(ctx, copied, false)
	if err != nil {
		return r, fmt.Errorf("restoring %s: %w", from, err)
	}
	defer st.Close()
	s, err := o.openOn(server.Config{Store: st, Mark: &freeMark{}})
	if err != nil {
		return r, fmt.Errorf("restoring %s: %w", from, err)
	}
	if r, err = s.Restored(ctx, mark); err != nil || then == nil {
		return r, err
	}
	return r, then(st)
}

// keep writes a backup of what a shared store holds, if that can be read.
func (o *options) keep(st store.Store) (path string, err error) {
	path = filepath.Join(o.data, "before-restore.db")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return path, err
	}
	if err = st.Backup(f); err == nil {
		err = f.Sync()
	}
	return path, errors.Join(err, f.Close())
}

// refill makes one store's contents another's. Rows of a kind that lives for
// minutes go, too.
func refill(ctx context.Context, from, to store.Store) error {
	tables := server.CopyTables()
	slices.Reverse(tables)
	if err := store.Empty(ctx, to, append(tables, server.PassingTables()...)); err != nil {
		return err
	}
	return store.Copy(ctx, from, to, server.CopyTables())
}

// verify opens a copy as a server would, and compares it with what it was
// made of.
func (o *options) verify(st store.Store, want server.Checked, shared bool) error {
	s, err := o.openOn(server.Config{Store: st, Shared: shared, Mark: &freeMark{at: want.Epoch}})
	if err != nil {
		return fmt.Errorf("verifying the copy: %w", err)
	}
	got, err := s.Check()
	if err != nil {
		return fmt.Errorf("verifying the copy: %w", err)
	}
	if got.Epoch != want.Epoch || got.Records != want.Records || got.Events != want.Events || got.Head.Hash != want.Head.Hash {
		return fmt.Errorf("verifying the copy: it has %d records and %d events, epoch %d; want %d, %d and %d",
			got.Records, got.Events, got.Epoch, want.Records, want.Events, want.Epoch)
	}
	return nil
}

// stopped makes sure that no server runs on this data directory.
func (o *options) stopped(ctx context.Context, doing string) error {
	up, err := o.running(ctx)
	if err == nil && up {
		err = fmt.Errorf("%s: the server is running; stop it first", doing)
	}
	return err
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
	return errors.Join(err, out.Close())
}
