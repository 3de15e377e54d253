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
	update := func(f func(tx store.Tx) error) []byte {
		t.Helper()
		if err := db.Update(ctx, f); err != nil {
			t.Fatal(err)
		}
		return readFile(t, path)
	}
	one := func(tx store.Tx) error { return tx.Put(table, []byte("k"), []byte("v")) }
	opens := func(now []byte, when string) {
		t.Helper()
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(copied, now, 0o600); err != nil {
			t.Fatal(err)
		}
		again := openLogged(t, copied, false)
		defer again.Close()
		if err := again.View(func(r store.Reader) error {
			if !bytes.Equal(r.Get(table, []byte("k")), []byte("v")) {
				t.Errorf("%s: the row is not there", when)
			}
			return nil
		}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}

	now := update(one)
	if _, there := freeList(t, now); !there {
		t.Error("few free pages are not in the file")
	}
	opens(now, "few free pages")

	const rows = 30_000 // of 3,000 pages
	update(func(tx store.Tx) error {
		for i := range rows {
			if err := tx.Put("log", binary.BigEndian.AppendUint32(nil, uint32(i)), bytes.Repeat([]byte("log"), 130)); err != nil {
				return err
			}
		}
		return nil
	})
	update(func(tx store.Tx) error {
		for i := range rows {
			if err := tx.Delete("log", binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
				return err
			}
		}
		return nil
	})
	now = update(one)
	if page, there := freeList(t, now); there {
		t.Errorf("many free pages are in the file, at page %d", page)
	}
	opens(now, "many free pages")

	// Once they are used again, they are in it again.
	update(func(tx store.Tx) error {
		for i := range rows {
			if err := tx.Put("log", binary.BigEndian.AppendUint32(nil, uint32(i)), bytes.Repeat([]byte("log"), 130)); err != nil {
				return err
			}
		}
		return nil
	})
	now = update(one)
	if _, there := freeList(t, now); !there {
		t.Error("few free pages are not in the file again")
	}
	opens(now, "few free pages again")
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
