package bolt_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// F23: the power is cut at every write. bbolt writes the pages of a
// transaction, syncs, writes a meta page, syncs: so any part of the pages may
// be on the disk while the meta page is not, and the meta page only with all
// of them. Every such file must open, and show a whole transaction.
func TestPowerCutAtEveryWrite(t *testing.T) {
	db, path := create(t)
	random := rand.New(rand.NewPCG(3, 4))
	before, rowsBefore := readFile(t, path), map[string]string{}
	images := 0
	for n := range 25 {
		rows := maps.Clone(rowsBefore)
		if err := db.Update(ctx, func(tx store.Tx) error { return churn(tx, random, rows, n) }); err != nil {
			t.Fatal(err)
		}

		after := readFile(t, path)
		pages, meta := changedPages(before, after)
		for _, written := range cuts(random, pages) {
			images++
			wantRows(t, image(before, after, written), rowsBefore, fmt.Sprintf("update %d, pages %v of %v written", n, written, pages))
		}

		wantRows(t, image(before, after, append(pages, meta...)), rows, fmt.Sprintf("update %d, all written", n))
		before, rowsBefore = after, rows
	}

	if images < 100 {
		t.Errorf("only %d cuts were tried", images)
	}
}

// churn adds, replaces and removes rows, in the transaction and in a map.
func churn(tx store.Tx, random *rand.Rand, rows map[string]string, n int) error {
	for range 1 + random.IntN(40) {
		key := fmt.Sprintf("%03d", random.IntN(200))
		if random.IntN(4) == 0 {
			delete(rows, key)
			if err := tx.Delete(table, []byte(key)); err != nil {
				return err
			}
			continue
		}

		rows[key] = fmt.Sprintf("%d%0*d", n, random.IntN(300), 0)
		if err := tx.Put(table, []byte(key), []byte(rows[key])); err != nil {
			return err
		}
	}
	return nil
}

// changedPages tells which pages differ, and which of them are meta pages.
func changedPages(before, after []byte) (pages, meta []int) {
	size := os.Getpagesize()
	for i := 0; i*size < len(after); i++ {
		var old []byte
		if (i+1)*size <= len(before) {
			old = before[i*size : (i+1)*size]
		}
		switch {
		case bytes.Equal(old, after[i*size:(i+1)*size]):
		case i < 2:
			meta = append(meta, i)
		default:
			pages = append(pages, i)
		}
	}
	return pages, meta
}

// cuts are the pages written so far, in order, and a few random choices of
// them: a disk writes in the order that it likes.
func cuts(random *rand.Rand, pages []int) (all [][]int) {
	for i := range len(pages) + 1 {
		all = append(all, slices.Clone(pages[:i]))
	}
	for range 4 {
		some := slices.DeleteFunc(slices.Clone(pages), func(int) bool { return random.IntN(2) == 0 })
		all = append(all, some)
	}
	return all
}

func image(before, after []byte, written []int) []byte {
	b, size := make([]byte, len(after)), os.Getpagesize()
	copy(b, before)
	for _, i := range written {
		copy(b[i*size:(i+1)*size], after[i*size:])
	}
	return b
}

func wantRows(t *testing.T, file []byte, want map[string]string, when string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}

	db, err := bolt.Open(path, false, []string{table})
	if err != nil {
		t.Fatalf("%s: opening: %v", when, err)
	}
	defer db.Close()
	got := map[string]string{}
	if err := db.View(func(r store.Reader) error {
		r.Scan(table, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true })
		return nil
	}); err != nil {
		t.Fatalf("%s: %v", when, err)
	}

	if !maps.Equal(got, want) {
		t.Fatalf("%s: %d rows, want the %d of one whole update", when, len(got), len(want))
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
