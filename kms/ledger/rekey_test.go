package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// A keyed is a KMS of which the data key is changed.
type keyed struct {
	t        *testing.T
	db       store.Store
	wrapping secret.Bytes
	mark     ledger.MarkFile
}

func newKeyed(t *testing.T) *keyed {
	t.Helper()
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, ledger.Names(tables))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	k := &keyed{t, db, secret.Random(32), ledger.MarkFile(filepath.Join(dir, "epoch"))}
	if _, err := ledger.Initialize(t.Context(), db, k.wrapping, k.mark); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keyed) config() ledger.Config {
	return ledger.Config{
		Store: k.db, Wrapping: k.wrapping, Mark: k.mark, Tables: tables,
		Again: func(context.Context) (secret.Bytes, error) { return k.wrapping.Clone(), nil },
	}
}

func (k *keyed) open() *ledger.Ledger {
	k.t.Helper()
	l, err := ledger.Open(k.config())
	if err != nil {
		k.t.Fatal(err)
	}
	return l
}

// fill writes rows of every kind.
func (k *keyed) fill(l *ledger.Ledger, rows int) {
	k.t.Helper()
	for i := range rows {
		key := fmt.Appendf(nil, "%04d", i)
		err := l.Update(k.t.Context(), func(t *ledger.Txn) error {
			t.Bump()
			return errors.Join(t.Put(tableA, key, key), t.Put(secrets, append(key, 1), key), t.Put(logged, key, key), t.PutPassing(passing, key, key), t.Mark(passing, append(key, 'm')))
		})
		if err != nil {
			k.t.Fatal(err)
		}
	}
}

// whole sees that all rows are there and verify.
func (k *keyed) whole(l *ledger.Ledger, rows int) {
	k.t.Helper()
	if _, err := l.Check(); err != nil {
		k.t.Fatal(err)
	}
	err := l.Read(func(v ledger.View) error {
		for i := range rows {
			key := fmt.Appendf(nil, "%04d", i)
			for table, at := range map[*ledger.Table][]byte{tableA: key, secrets: append(bytes.Clone(key), 1), logged: key, passing: key} {
				if got, _, err := v.Get(table, at); err != nil || !bytes.Equal(got, key) {
					return fmt.Errorf("row %s: %q, %w", key, got, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// rekey changes the data key to its end.
func (k *keyed) rekey(l *ledger.Ledger) {
	k.t.Helper()
	if _, _, err := l.Rekey(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	k.done(l)
}

func (k *keyed) done(l *ledger.Ledger) {
	k.t.Helper()
	if r, err := l.GoOn(k.t.Context()); err != nil || r.From != 0 || r.Waiting != "" {
		k.t.Fatalf("GoOn = %+v, %v, want it done", r, err)
	}
}

// raw are all rows of a store, by table and key.
func raw(db store.Store, table string) map[string][]byte {
	all := map[string][]byte{}
	db.View(func(r store.Reader) error {
		r.Scan(table, nil, func(key, value []byte) bool { all[string(key)] = bytes.Clone(value); return true })
		return nil
	})
	return all
}

// A change of the data key leaves every row as it was, and nothing that the
// old key opens. What the KMS is called stays, and so do its own keys.
func TestRekey(t *testing.T) {
	const rows = 100
	k := newKeyed(t)
	l := k.open()
	k.fill(l, rows)
	name, pins := bytes.Clone(l.Name()), fmt.Sprint(l.Pins())
	before, err := l.Check()
	if err != nil {
		t.Fatal(err)
	}
	old := ledger.SealedWith(t, l, 1)
	if old < 4*rows {
		t.Fatalf("%d records name key 1, want at least %d", old, 4*rows)
	}

	k.rekey(l)
	k.whole(l, rows)
	if n := ledger.SealedWith(t, l, 1); n != 0 {
		t.Errorf("%d records name the old key", n)
	}
	if n := ledger.SealedWith(t, l, 2); n != old {
		t.Errorf("%d records name the new key, want %d", n, old)
	}
	after, err := l.Check()
	if err != nil || after.Records != before.Records || after.Epoch != before.Epoch || after.Events != before.Events+2 {
		t.Errorf("Check = %+v, %v, want as before with 2 events more: %+v", after, err, before)
	}
	keys, err := l.DataKeys()
	if err != nil || len(keys) != 1 || keys[0].ID != 2 || !keys[0].Sealing || keys[0].Seals < uint64(old) {
		t.Errorf("DataKeys = %+v, %v, want key 2 with %d seals or more", keys, err, old)
	}

	again := k.open()
	k.whole(again, rows)
	if !bytes.Equal(again.Name(), name) || fmt.Sprint(again.Pins()) != pins {
		t.Errorf("the KMS is called %x with %v, want %x with %s", again.Name(), again.Pins(), name, pins)
	}
	k.rekey(again)
	if keys, err := again.DataKeys(); err != nil || len(keys) != 1 || keys[0].ID != 3 {
		t.Errorf("DataKeys after another = %+v, %v, want key 3", keys, err)
	}
	k.whole(k.open(), rows)
}

// D33: who kept a record of before puts it back, or has the old key and makes
// one: it does not open, whatever it counts under a key that is known.
func TestOldRecordsAreNoticed(t *testing.T) {
	for _, table := range []string{"a", "c", "e", "meta", "d"} {
		t.Run(table, func(t *testing.T) {
			k := newKeyed(t)
			l := k.open()
			k.fill(l, 3)
			before := raw(k.db, table)
			k.rekey(l)
			err := k.db.Update(t.Context(), func(tx store.Tx) error {
				for key, value := range before {
					if table == "meta" && key != "signing" {
						continue
					}
					if err := tx.Put(table, []byte(key), value); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = l.Check()
			if table == "d" { // is in no digest, and does not open
				err = l.Read(func(v ledger.View) error { _, _, err := v.Get(passing, []byte("0001")); return err })
			}
			if !errors.Is(err, ledger.ErrUnverified) || !strings.Contains(err.Error(), "data key 1, which is not of this database any more") {
				t.Errorf("Check = %v, want that the old key is gone", err)
			}
		})
	}
}

// What began is not begun again, and a wrapping key that does not fit wraps no
// data key.
func TestRekeyIsRefused(t *testing.T) {
	k := newKeyed(t)
	l := k.open()
	if _, _, err := l.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	from, to, err := l.Rekey(t.Context())
	if !errors.Is(err, ledger.ErrRekeying) || from != 1 || to != 2 {
		t.Errorf("Rekey while one runs = %d, %d, %v, want 1, 2, %v", from, to, err, ledger.ErrRekeying)
	}
	k.done(l)

	c := k.config()
	c.Again = func(context.Context) (secret.Bytes, error) { return secret.Random(32), nil }
	other, err := ledger.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Rekey(t.Context()); !errors.Is(err, ledger.ErrWrappingKey) {
		t.Errorf("Rekey with another wrapping key = %v, want %v", err, ledger.ErrWrappingKey)
	}
	c.Again = nil
	silent, err := ledger.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := silent.Rekey(t.Context()); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("Rekey without a wrapping key = %v, want %v", err, ledger.ErrRefused)
	}
	k.whole(k.open(), 0)
}

// The wrapping key may change while the data key does: both keys go along.
func TestWrappingChangesDuringRekey(t *testing.T) {
	k := newKeyed(t)
	l := k.open()
	k.fill(l, 3)
	if _, _, err := l.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := k.wrapping
	k.wrapping = secret.Random(32)
	if err := l.ChangeWrapping(t.Context(), old, k.wrapping); err != nil {
		t.Fatal(err)
	}
	next := k.open()
	k.done(next)
	k.whole(next, 3)
	k.whole(k.open(), 3)
	c := k.config()
	c.Wrapping = old
	if _, err := ledger.Open(c); !errors.Is(err, ledger.ErrWrappingKey) {
		t.Errorf("Open with the old wrapping key = %v, want %v", err, ledger.ErrWrappingKey)
	}
}

// D35: after the wrapping key and then the data key were changed, nothing that
// ever stood in the store, as its file's free pages have it, gives who has the
// old wrapping key more than the old data key, which opens no record.
func TestOldWrappingKeyOpensNothing(t *testing.T) {
	k := newKeyed(t)
	f := &filmed{Store: k.db, after: func() picture { return picture{"meta": raw(k.db, "meta"), "a": raw(k.db, "a")} }}
	c := k.config()
	c.Store = f
	l, err := ledger.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	k.fill(l, 3)
	old := k.wrapping
	k.wrapping = secret.Random(32)
	if err := l.ChangeWrapping(t.Context(), old, k.wrapping); err != nil {
		t.Fatal(err)
	}
	f.pictures = nil
	k.rekey(l)
	for i, p := range f.pictures {
		if ids := ledger.Unwraps(old, p["meta"]["wrapped-key"]); len(ids) != 0 {
			t.Errorf("after update %d the old wrapping key opens the data keys %v", i, ids)
		}
		if ids := ledger.Unwraps(k.wrapping, p["meta"]["wrapped-key"]); len(ids) == 0 {
			t.Errorf("after update %d the wrapping key opens nothing", i)
		}
	}
	last := f.pictures[len(f.pictures)-1]
	if ids := ledger.Unwraps(k.wrapping, last["meta"]["wrapped-key"]); len(ids) != 1 || ids[0] != 2 {
		t.Errorf("in the end the store has the data keys %v, want 2 alone", ids)
	}
}
