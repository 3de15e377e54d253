package bolt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// freeList is where the newest transaction of a file has its free pages; false
// if they are not in it.
func freeList(t *testing.T, b []byte) (page uint64, there bool) {
	t.Helper()
	newest := uint64(0)
	for _, meta := range []int{0, os.Getpagesize()} {
		if id := binary.LittleEndian.Uint64(b[meta+16+48:]); id >= newest {
			newest, page = id, binary.LittleEndian.Uint64(b[meta+16+32:])
		}
	}
	return page, page != 1<<64-1
}

// Who kills a server leaves the free pages in the file, so that the next start
// need not look for them, as long as they are few: with many, as after a
// removal of old events, each transaction would write them all.
func TestFreePagesAfterKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db := openLogged(t, path, true)
	defer db.Close()
	const rows = 30_000 // of 3,000 pages
	all := func(do func(tx store.Tx, key []byte) error) func(store.Tx) error {
		return func(tx store.Tx) (err error) {
			for i := range uint32(rows) {
				err = errors.Join(err, do(tx, binary.BigEndian.AppendUint32(nil, i)))
			}
			return err
		}
	}
	event := bytes.Repeat([]byte("log"), 130)
	add := all(func(tx store.Tx, key []byte) error { return tx.Put("log", key, event) })
	remove := all(func(tx store.Tx, key []byte) error { return tx.Delete("log", key) })

	for _, step := range []struct {
		name  string
		do    []func(store.Tx) error
		there bool
	}{
		{"few free pages", nil, true},
		{"many free pages", []func(store.Tx) error{add, remove}, false},
		{"few free pages, once they are used again", []func(store.Tx) error{add}, true},
	} {
		one := func(tx store.Tx) error { return tx.Put(table, []byte("k"), []byte("v")) }
		for _, do := range append(step.do, one) {
			if err := db.Update(ctx, do); err != nil {
				t.Fatal(err)
			}
		}
		killed := readFile(t, path)
		if page, there := freeList(t, killed); there != step.there {
			t.Errorf("%s: they are in the file: %t, at page %d", step.name, there, page)
		}
		opens(t, killed, step.name)
	}
}

// opens: a file can be opened as it is, and has the row.
func opens(t *testing.T, file []byte, when string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db := openLogged(t, path, false)
	defer db.Close()
	err := db.View(func(r store.Reader) error {
		if !bytes.Equal(r.Get(table, []byte("k")), []byte("v")) {
			t.Errorf("%s: the row is not there", when)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// A damaged page is found wherever in the tree it stands, however many look
// for it at once.
func TestEachPageIsLookedAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db := openLogged(t, path, true)
	for part := range 10 {
		err := db.Update(ctx, func(tx store.Tx) error {
			for i := range 2000 {
				if err := tx.Put("log", binary.BigEndian.AppendUint32(nil, uint32(part*2000+i)), bytes.Repeat([]byte("log"), 20)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	whole := readFile(t, path)
	db.Close()
	used, found := 0, 0
	size := os.Getpagesize()
	for page := 2; page < len(whole)/size; page += 9 {
		b := bytes.Clone(whole)
		if flags := binary.LittleEndian.Uint16(b[page*size+8:]); flags != 1 && flags != 2 {
			continue
		}
		used++
		copy(b[page*size+16:], bytes.Repeat([]byte{0xee}, size-16))
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(copied, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if again, err := bolt.Open(copied, false, []string{table, "log"}, "log"); errors.Is(err, store.ErrDamaged) {
			found++
		} else if err == nil {
			again.Close()
		}
	}
	// Some of these pages are old copies, which nobody uses.
	if found < used*8/10 || used < 30 {
		t.Errorf("%d of %d damaged pages were found", found, used)
	}
}
