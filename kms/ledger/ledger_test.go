package ledger_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

var (
	tableA  = ledger.NewTable("a", ledger.Sealed)
	tableB  = ledger.NewTable("b", ledger.Sealed)
	secrets = ledger.NewTable("c", ledger.SealedByState)
	passing = ledger.NewTable("d", ledger.Passing)
	logged  = ledger.NewTable("e", ledger.Log)
	tables  = []*ledger.Table{tableA, tableB, secrets, passing, logged}
)

func open(t *testing.T) (*ledger.Ledger, store.Store) {
	t.Helper()
	dir, wrapping := t.TempDir(), secret.Random(32)
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, ledger.Names(tables))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	mark := ledger.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := ledger.Initialize(t.Context(), db, wrapping, mark); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Store: db, Wrapping: wrapping, Mark: mark, Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	return l, db
}

// E3: a sealed record stands where it was written: not in another table, not
// under another key, not in another state.
func TestRecordsStandWhereTheyWereWritten(t *testing.T) {
	l, db := open(t)
	active, staged, key := []byte("key\x01"), []byte("key\x02"), []byte("key")
	err := l.Update(t.Context(), func(tx *ledger.Txn) error {
		return errors.Join(tx.Put(tableA, key, []byte("v")), tx.Put(secrets, active, []byte("s")))
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct {
		name     string
		from, to string
		table    *ledger.Table
		fromKey  []byte
		at       []byte
	}{
		{"another table", "a", "b", tableB, key, key},
		{"another key", "a", "a", tableA, key, []byte("yek")},
		{"another state", "c", "c", secrets, active, staged},
	} {
		err := db.Update(t.Context(), func(tx store.Tx) error {
			return tx.Put(row.to, row.at, bytes.Clone(tx.Get(row.from, row.fromKey)))
		})
		if err != nil {
			t.Fatal(err)
		}
		err = l.Read(func(v ledger.View) error { _, _, err := v.Get(row.table, row.at); return err })
		if !errors.Is(err, ledger.ErrUnverified) {
			t.Errorf("%s: Get = %v, want ErrUnverified", row.name, err)
		}
	}
}

// A table is its owner's: who makes another of the same name gets at
// nothing, and two of one name are not registered.
func TestTablesAreTheirOwners(t *testing.T) {
	l, db := open(t)
	other := ledger.NewTable("a", ledger.Sealed)
	_, err := ledger.Open(ledger.Config{Store: db, Wrapping: secret.Random(32), Tables: append(slices.Clone(tables), other)})
	if err == nil || !strings.Contains(err.Error(), "two are named a") {
		t.Errorf("Open with two tables of one name = %v", err)
	}
	if err := l.Read(func(v ledger.View) error { v.Has(other, []byte("k")); return nil }); err == nil {
		t.Error("a table that is not registered was read")
	}
}

// An update that fails leaves nothing behind, and no event.
func TestFailedUpdateLeavesNothing(t *testing.T) {
	l, _ := open(t)
	before, err := l.Check()
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no")
	err = l.Update(t.Context(), func(tx *ledger.Txn) error {
		tx.Bump()
		return errors.Join(tx.Put(tableA, []byte("k"), []byte("v")), tx.Note(ledger.Event{Event: "x"}), failed)
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if after, err := l.Check(); err != nil || after != before {
		t.Errorf("Check = %+v, %v, want %+v", after, err, before)
	}
}
