package bolt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

const table = "t"

var ctx = context.Background()

func create(t testing.TB) (*bolt.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, true, []string{table})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, path
}

func count(t testing.TB, db *bolt.DB) (n int) {
	t.Helper()
	if err := db.View(func(r store.Reader) error {
		r.Scan(table, nil, func(_, _ []byte) bool { n++; return true })
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// Updates that share a write do not share their failures: one that fails,
// or panics, leaves nothing behind, and the others are whole.
func TestFailuresAreNotShared(t *testing.T) {
	db, _ := create(t)
	var group sync.WaitGroup
	for i := range 300 {
		group.Go(func() {
			err := db.Update(ctx, func(tx store.Tx) error {
				for part := range 3 {
					if err := tx.Put(table, fmt.Appendf(nil, "%d/%d", i, part), []byte{1}); err != nil {
						return err
					}
				}
				switch {
				case i%10 == 3:
					return errors.New("on purpose")
				case i%50 == 7:
					panic("on purpose")
				}
				return nil
			})
			if failed := i%10 == 3 || i%50 == 7; failed != (err != nil) {
				t.Errorf("update %d = %v", i, err)
			}
		})
	}

	group.Wait()
	if got, want := count(t, db), 3*(300-30-6); got != want {
		t.Errorf("%d records, want %d: the whole of those that succeeded", got, want)
	}
}

func TestWhatWasWrittenIsThere(t *testing.T) {
	db, path := create(t)
	for i := range 2000 { // several levels of pages
		if err := db.Update(ctx, func(tx store.Tx) error {
			return tx.Put(table, fmt.Appendf(nil, "%08d", i), bytes.Repeat([]byte{byte(i)}, 100))
		}); err != nil {
			t.Fatal(err)
		}
		if i == 100 && testing.Short() {
			break
		}
	}

	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := bolt.Open(path, false, []string{table, "new"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := count(t, again); n != 2000 && !testing.Short() {
		t.Errorf("%d records, want 2000", n)
	}

	if err := db.Update(ctx, func(store.Tx) error { return nil }); err == nil {
		t.Error("a closed database took an update")
	}
}

func TestOneProcessAtATime(t *testing.T) {
	_, path := create(t)
	if _, err := bolt.Open(path, false, nil); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("opening twice = %v, want %v", err, bolt.ErrInUse)
	}
	if _, err := bolt.Open(path, true, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("creating over a database = %v, want %v", err, os.ErrExist)
	}
}

// FuzzOpen: a damaged file is refused or read; it never crashes the
// process. The damage is bytes written over a whole database.
func FuzzOpen(f *testing.F) {
	db, path := create(f)
	for i := range 300 {
		if err := db.Update(ctx, func(tx store.Tx) error {
			return tx.Put(table, fmt.Appendf(nil, "%08d", i), bytes.Repeat([]byte{byte(i)}, 80))
		}); err != nil {
			f.Fatal(err)
		}
	}

	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}

	f.Add(uint32(0), []byte{0xff}, uint32(0))
	f.Add(uint32(4096*3+10), []byte{0xff, 0xff}, uint32(0))
	f.Add(uint32(4096*5+16), bytes.Repeat([]byte{0xee}, 4096), uint32(0))
	f.Add(uint32(0), []byte{}, uint32(4096*4+7))

	f.Fuzz(func(t *testing.T, at uint32, damage []byte, cut uint32) {
		b := bytes.Clone(whole)
		copy(b[int(at)%len(b):], damage)
		b = b[:len(b)-int(cut)%len(b)]
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, false, []string{table})
		if err != nil {
			return
		}
		defer db.Close()
		count(t, db)
	})
}

// Many updates at once share writes to the disk; a lone one waits for
// nobody.
func TestUpdatesShareWrites(t *testing.T) {
	db, path := create(t)
	before := transactions(t, path)
	const updates = 400
	var group sync.WaitGroup

	for i := range updates {
		group.Go(func() {
			if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put(table, fmt.Append(nil, i), []byte{1}) }); err != nil {
				t.Error(err)
			}
		})
	}

	group.Wait()
	if n := transactions(t, path) - before; n > updates/2 {
		t.Errorf("%d updates at once took %d transactions", updates, n)
	}
	if n := count(t, db); n != updates {
		t.Errorf("%d records, want %d", n, updates)
	}
}

// transactions reads the number of the newest transaction from the two meta
// pages.
func transactions(t testing.TB, path string) (newest uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []int{0, os.Getpagesize()} {
		newest = max(newest, binary.LittleEndian.Uint64(b[page+16+48:]))
	}
	return newest
}
