package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// backedUp is a backup of a KMS that runs.
func (f *fixture) backedUp() string {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "copy.db")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := errors.Join(f.Backup(out), out.Close()); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// A copy is judged as a server judges its database: whole, it passes, however
// far the server has come since; with one row altered, or one of another time,
// it does not.
func TestCheckCopy(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.mustGet(node)
	older, path := f.backedUp(), ""
	f.mustGet(node)
	if err := f.Update(ctx, func(t *ledger.Txn) error { t.Bump(); return t.Note(ledger.Event{Event: "later"}) }); err != nil {
		t.Fatal(err)
	}
	path = f.backedUp()
	want, err := f.Check()
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.JudgeCopy(path)
	if err != nil || got.Epoch != want.Epoch || got.Records != want.Records || got.Events != want.Events {
		t.Fatalf("JudgeCopy = %+v, %v; want %+v", got, err, want)
	}
	if then, err := f.JudgeCopy(older); err != nil || then.Epoch >= got.Epoch {
		t.Errorf("a backup of before: %+v, %v; want an epoch below %d", then, err, got.Epoch)
	}

	for table, what := range map[string]string{"nodes": "a record", "audit": "an event"} {
		spoilt := f.backedUp()
		change(t, spoilt, func(tx store.Tx) error {
			keys, values := all(tx, table)
			values[0][len(values[0])-1] ^= 1
			return tx.Put(table, keys[0], values[0])
		})
		if _, err := f.JudgeCopy(spoilt); !errors.Is(err, ledger.ErrUnverified) {
			t.Errorf("a copy in which %s was altered: %v, want ErrUnverified", what, err)
		}
	}
}

func change(t *testing.T, path string, f func(store.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, false, server.Tables())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(ctx, f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// An event is in a copy if it is the same event: numbers are given out anew
// after a restore.
func TestHasEvent(t *testing.T) {
	f := newKMS(t)
	f.mustGet(f.approved())
	var last ledger.Event
	err := f.Read(func(v ledger.View) error {
		return v.Events(1, func(e ledger.Event) bool { last = e; return true })
	})
	if err != nil || last.Seq == 0 {
		t.Fatal(last, err)
	}
	other := last
	other.Detail = "of another history"
	later := last
	later.Seq++
	err = f.Read(func(v ledger.View) error {
		if !v.HasEvent(last) || v.HasEvent(other) || v.HasEvent(later) {
			t.Errorf("HasEvent: itself %t, another of its number %t, one of a later number %t", v.HasEvent(last), v.HasEvent(other), v.HasEvent(later))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
