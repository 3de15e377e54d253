package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// logged is a database with a row and a log of some pages, closed.
func logged(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db := openLogged(t, path, true)
	for part := range 4 {
		err := db.Update(ctx, func(tx store.Tx) error {
			if err := tx.Put(table, fmt.Appendf(nil, "row %d", part), bytes.Repeat([]byte("row"), 300)); err != nil {
				return err
			}
			for i := range 200 {
				if err := tx.Put("log", fmt.Appendf(nil, "%08d", part*200+i), bytes.Repeat([]byte("log"), 100)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openLogged(t *testing.T, path string, create bool) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(path, create, []string{table, "log"}, "log")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// spoil writes over all pages that have many rows of a table: those that are
// in use, and old copies of them.
func spoil(t *testing.T, path, table string) {
	t.Helper()
	b, size, spoiled := readFile(t, path), os.Getpagesize(), 0
	for i := 2; i < len(b)/size; i++ {
		if page := b[i*size : (i+1)*size]; bytes.Count(page, []byte(table+table)) > 10 {
			copy(page, bytes.Repeat([]byte{0xee}, size))
			spoiled++
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil || spoiled == 0 {
		t.Fatalf("%d pages were spoiled: %v", spoiled, err)
	}
}

// After a clean end a log is not walked at the start, all else is; what is
// damaged in it is an error when it is read, and no more.
func TestCleanEnd(t *testing.T) {
	path := logged(t)
	spoil(t, path, "log")
	db := openLogged(t, path, false)
	err := db.View(func(r store.Reader) error {
		r.Scan("log", nil, func(_, _ []byte) bool { return true })
		return nil
	})
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("reading a damaged page = %v, want %v", err, store.ErrDamaged)
	}
	if err := db.View(func(r store.Reader) error { r.Get(table, []byte("row 1")); return nil }); err != nil {
		t.Errorf("what is not damaged: %v", err)
	}
	db.Close()

	path = logged(t)
	spoil(t, path, "row")
	if _, err := bolt.Open(path, false, []string{table, "log"}, "log"); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a damaged row = %v, want %v", err, store.ErrDamaged)
	}
}

// What says that the end was clean says it of this very state: of a database
// that was changed, exchanged or cut off since, all is walked.
func TestUncleanEnd(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(t *testing.T, path string)
	}{
		{"nothing says so", func(t *testing.T, path string) { os.Remove(path + ".closed") }},
		{"it is no seal", func(t *testing.T, path string) { os.WriteFile(path+".closed", []byte("closed\n"), 0o600) }},
		{"a seal of another database", func(t *testing.T, path string) {
			other := logged(t)
			b := readFile(t, other+".closed")
			os.WriteFile(path+".closed", append(b[:1:1], append([]byte("9"), b[1:]...)...), 0o600)
		}},
		{"killed after a change", func(t *testing.T, path string) {
			db := openLogged(t, path, false)
			if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put(table, []byte("k"), []byte("v")) }); err != nil {
				t.Fatal(err)
			}
			now := readFile(t, path)
			db.Close()
			os.Remove(path + ".closed") // Close wrote another
			if err := os.WriteFile(path, now, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".closed", sealBefore, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := logged(t)
			sealBefore = readFile(t, path+".closed")
			row.do(t, path)
			spoil(t, path, "log")
			if _, err := bolt.Open(path, false, []string{table, "log"}, "log"); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("a damaged log = %v, want %v", err, store.ErrDamaged)
			}
		})
	}
}

// sealBefore is the seal that the database of a row had at first.
var sealBefore []byte

// A list of free pages that was damaged would have others' pages written
// over: it is told, with the seal and without.
func TestDamagedFreePages(t *testing.T) {
	for _, seal := range []bool{true, false} {
		path := logged(t)
		b, size := readFile(t, path), os.Getpagesize()
		page, there := freeList(t, b)
		list := int(page)
		if !there || b[list*size+10] == 0 {
			t.Fatal("no free pages are in the file")
		}
		b[list*size+16] ^= 1 // another page
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if !seal {
			os.Remove(path + ".closed")
		}
		if db, err := bolt.Open(path, false, []string{table, "log"}, "log"); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("with a seal: %t: a damaged list of free pages = %v, want %v", seal, err, store.ErrDamaged)
			if err == nil {
				db.Close()
			}
		}
	}
}

// What somebody wrote over the file of a database that is open is left as it
// is.
func TestOverwrittenIsLeft(t *testing.T) {
	path := logged(t)
	before := readFile(t, path)
	db := openLogged(t, path, false)
	for range 3 {
		if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put(table, []byte("k"), []byte("v")) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if !bytes.Equal(readFile(t, path), before) {
		t.Error("closing changed what was put there")
	}
	openLogged(t, path, false).Close()
}

// Who only looks leaves the file as it is.
func TestLookingChangesNothing(t *testing.T) {
	path := logged(t)
	before, seal := readFile(t, path), readFile(t, path+".closed")
	db := openLogged(t, path, false)
	if err := db.View(func(r store.Reader) error { r.Get(table, []byte("row 1")); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, path), before) || !bytes.Equal(readFile(t, path+".closed"), seal) {
		t.Error("looking changed the file")
	}
}
