package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"latchkey/kms/ledger"

	"latchkey/internal/datafile"
	"latchkey/kms/backup"
	"latchkey/kms/config"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// Restore puts a backup in the place of the database. It opens the copy as a server would, under a mark that lets it in,
// and lifts its epoch over that of the database that it replaces. before is
// where that is kept.
func (h Home) Restore(ctx context.Context, from backup.Source) (r ledger.Checked, before string, err error) {
	if err := h.stopped(ctx, "restoring"); err != nil {
		return r, "", err
	}
	if err := h.private(); err != nil {
		return r, "", fmt.Errorf("restoring: %w", err)
	}
	mark, err := h.Mark().Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // none on a host that is new
		return r, "", fmt.Errorf("restoring: %w", err)
	}

	copied := config.Place{Kind: config.Bolt, Path: filepath.Join(h.Data, ".restore.db"), AnyMode: h.AnyMode}
	defer os.Remove(copied.Path)
	defer os.Remove(bolt.Closed(copied.Path))
	if err := from.Fetch(ctx, copied.Path); err != nil {
		return r, "", fmt.Errorf("restoring: %w", err)
	}

	if err := h.oneKey(ctx); err != nil {
		return r, "", fmt.Errorf("restoring: %w", err)
	}
	if h.Place.Shared() {
		return h.restoreShared(ctx, copied, from, mark.Epoch)
	}
	return h.restoreFile(ctx, copied, from, mark.Epoch)
}

// restoreFile exchanges the files. A database that cannot be opened may be
// replaced: that is what restoring is for.
func (h Home) restoreFile(ctx context.Context, copied config.Place, from backup.Source, mark uint64) (r ledger.Checked, before string, err error) {
	if current, err := h.Open(ctx, server.Config{}); err == nil {
		defer current.Close() // nobody opens it meanwhile
	}
	if r, err = h.lift(ctx, copied, from, mark, nil); err != nil {
		return r, "", err
	}
	if before, err = free(h.Place.Path + ".before-restore"); err != nil {
		return r, "", fmt.Errorf("restoring: %w", err)
	}
	if err := keepBefore(h.Place.Path, before); err != nil {
		return r, "", fmt.Errorf("restoring: keeping the database before: %w", err)
	}
	if err := datafile.Replace(copied.Path, h.Place.Path); err != nil {
		return r, "", fmt.Errorf("restoring: %w", err)
	}
	if _, err := os.Lstat(before); errors.Is(err, fs.ErrNotExist) {
		before = "" // the directory held no database
	}
	return r, before, h.Mark().Write(r.Position())
}

// free is a path, or with a number behind it, that nothing has: who restores
// the wrong backup first and then the right one wants what was there before.
func free(path string) (string, error) {
	for n := 1; ; n++ {
		one := path
		if n > 1 {
			one += "-" + strconv.Itoa(n)
		}
		if _, err := os.Lstat(one); errors.Is(err, fs.ErrNotExist) {
			return one, nil
		} else if err != nil {
			return "", err
		}
	}
}

// keepBefore gives a database another name, too, so that there is one in its
// place at any moment; on a file system without links it moves it.
func keepBefore(path, before string) error {
	err := os.Link(path, before)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(path, before)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// restoreShared empties the store and fills it again. It is no KMS from the
// first row removed to the last one written; doing it again completes it.
func (h Home) restoreShared(ctx context.Context, copied config.Place, from backup.Source, mark uint64) (r ledger.Checked, before string, err error) {
	st, err := h.openStore(ctx, true)
	if err != nil {
		return r, "", err
	}
	defer st.Close()
	if current, err := h.openOn(server.Config{Store: st, Shared: true, Mark: &freeMark{}}); err == nil {
		if c, err := current.Check(); err == nil {
			mark = max(mark, c.Epoch)
		}
	}

	before, err = h.keep(st)
	if err != nil {
		return r, "", fmt.Errorf("restoring: keeping the database before: %w", err)
	}

	r, err = h.lift(ctx, copied, from, mark, func(backup store.Store) error { return refill(ctx, backup, st) })
	if err != nil {
		return r, "", err
	}

	if err := h.verify(st, r, true); err != nil {
		return r, "", err
	}
	return r, before, h.Mark().Write(r.Position())
}

// lift verifies a copy and lifts its epoch; then it is handed on.
func (h Home) lift(ctx context.Context, copied config.Place, from backup.Source, mark uint64, then func(store.Store) error) (r ledger.Checked, err error) {
	st, err := openPlace(ctx, copied, false)
	if err != nil {
		return r, fmt.Errorf("restoring %s: %w", from, err)
	}
	defer st.Close()
	s, err := h.openOn(server.Config{Store: st, Mark: &freeMark{}})
	if err != nil {
		return r, fmt.Errorf("restoring %s: %w", from, h.adviseKey(err))
	}
	if r, err = s.Restored(ctx, mark); err != nil || then == nil {
		return r, err
	}
	return r, then(st)
}

// keep writes a backup of what a shared store holds, if that can be read.
func (h Home) keep(st store.Store) (path string, err error) {
	if path, err = free(filepath.Join(h.Data, "before-restore.db")); err != nil {
		return path, err
	}
	f, err := datafile.Create(path)
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
	if w, ok := to.(store.Watched); ok {
		w.Guard(nil) // of the KMS that was there
	}
	tables := server.CopyTables()
	slices.Reverse(tables)
	if err := store.Empty(ctx, to, append(tables, server.PassingTables()...)); err != nil {
		return err
	}
	return store.Copy(ctx, from, to, server.CopyTables())
}

// verify opens a copy as a server would, and compares it with what it was
// made of.
func (h Home) verify(st store.Store, want ledger.Checked, shared bool) error {
	s, err := h.openOn(server.Config{Store: st, Shared: shared, Mark: &freeMark{at: want.Position()}})
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
