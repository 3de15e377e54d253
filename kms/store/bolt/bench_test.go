package bolt_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// BenchmarkOpenAfterKill opens a database whose last process did not close it,
// with a log of a million rows, or of as many as LATCHKEY_ROWS says.
func BenchmarkOpenAfterKill(b *testing.B) {
	rows := 1_000_000
	if text := os.Getenv("LATCHKEY_ROWS"); text != "" {
		var err error
		if rows, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	dir := os.Getenv("LATCHKEY_ROWS_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	path := filepath.Join(dir, "db")
	if _, err := os.Stat(path); err != nil {
		written(b, path, rows)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		db, err := bolt.Open(path, false, []string{table, "log"}, "log")
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// written has a log of so many rows, added by a hundred at a time beside a row
// that changes, as nobody closed it.
func written(b *testing.B, path string, rows int) {
	db, err := bolt.Open(path, true, []string{table, "log"}, "log")
	if err != nil {
		b.Fatal(err)
	}
	event := bytes.Repeat([]byte("event"), 75)
	for n := 0; n < rows; n += 1000 {
		err := db.Update(ctx, func(tx store.Tx) error {
			for i := range 1000 {
				if err := tx.Put("log", binary.BigEndian.AppendUint64(nil, uint64(n+i)), event); err != nil {
					return err
				}
			}
			return tx.Put(table, []byte{byte(n / 1000)}, binary.BigEndian.AppendUint64(nil, uint64(n)))
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	os.Remove(bolt.Closed(path))
	// Closing wrote the free pages: one more transaction leaves them out again.
}

// BenchmarkUpdate changes one row of ten thousand at a time: what one
// transaction costs beside the disk, if LATCHKEY_ROWS_DIR is in memory.
func BenchmarkUpdate(b *testing.B) {
	path := filepath.Join(cmp.Or(os.Getenv("LATCHKEY_ROWS_DIR"), b.TempDir()), "updated")
	defer os.Remove(path)
	db, err := bolt.Open(path, true, []string{table, "log"}, "log")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	n := uint64(0)
	row := func(tx store.Tx) error {
		n++
		key := binary.BigEndian.AppendUint64(nil, n*2654435761%10_000)
		return errors.Join(tx.Put(table, key, bytes.Repeat([]byte("row"), 100)), tx.Put("log", binary.BigEndian.AppendUint64(nil, n), bytes.Repeat([]byte("event"), 75)))
	}
	for range 100 {
		err := db.Update(ctx, func(tx store.Tx) (err error) {
			for range 100 {
				err = errors.Join(err, row(tx))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := db.Update(ctx, row); err != nil {
			b.Fatal(err)
		}
	}
}
