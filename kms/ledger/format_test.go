package ledger_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

// H7: a store of a newer version is refused before anything is read of it;
// one that it wrote so that this version may go on is opened, whatever else
// its record says.
func TestFormat(t *testing.T) {
	for _, row := range []struct {
		name, record, says string
		want               error
	}{
		{"as we write it", `{"version":3,"writer":3}`, "", nil},
		{"as the version before wrote it", `{"version":2,"writer":2}`, "", nil},
		{"as the first version wrote it", `{"version":1,"writer":1}`, "", nil},
		{"newer, for all", `{"version":4,"writer":1,"since":"2027-01-01"}`, "", nil},
		{"newer, for newer ones only", `{"version":5,"writer":4}`, "format 4 is the lowest that may; install the newer version", ledger.ErrNewer},
		{"damaged", `{"version":`, "", ledger.ErrUnverified},
		{"empty", `{}`, "", ledger.ErrUnverified},
		{"gone", "", "there is no record of it", ledger.ErrUnverified},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, db := open(t)
			err := db.Update(t.Context(), func(tx store.Tx) error {
				if row.record == "" {
					return tx.Delete("meta", []byte("format"))
				}
				return tx.Put("meta", []byte("format"), []byte(row.record))
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = ledger.Open(ledger.Config{Store: db, Wrapping: secret.Random(32), Tables: tables})
			want := row.want
			if want == nil {
				want = ledger.ErrWrappingKey // it goes on to the keys
			}
			if !errors.Is(err, want) || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Open = %v, want one line of %v with %q", err, want, row.says)
			}
		})
	}
}

// The record of the format is counted: who has no key cannot change it.
func TestFormatIsCounted(t *testing.T) {
	l, db := open(t)
	if _, err := l.Check(); err != nil {
		t.Fatal(err)
	}
	err := db.Update(t.Context(), func(tx store.Tx) error {
		return tx.Put("meta", []byte("format"), []byte(`{"version":1,"writer":1,"x":1}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Check(); !errors.Is(err, ledger.ErrUnverified) {
		t.Errorf("Check = %v, want %v", err, ledger.ErrUnverified)
	}
}

// Names inside of values, and what looks like a name in a text, are none.
func TestKnownFieldsOnly(t *testing.T) {
	type row struct {
		Name string         `json:"name"`
		More map[string]any `json:"more"`
	}
	l, _ := open(t)
	const before = `{"name":"a\"b\":{","more":{"x":[{"y":"z"}]}}`
	err := l.Update(t.Context(), func(tx *ledger.Txn) error {
		var r row
		if err := tx.Put(tableA, []byte("k"), []byte(before)); err != nil {
			return err
		}
		if _, err := tx.View.Load(tableA, []byte("k"), &r); err != nil {
			return err
		}
		if err := tx.Save(tableA, []byte("k"), r); err != nil {
			return err
		}
		if got, _, err := tx.View.Get(tableA, []byte("k")); err != nil || string(got) != before {
			t.Errorf("the row is %s, %v, want %s", got, err, before)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A field that a later version added to a row stays when this one writes it.
func TestUnknownFieldsStay(t *testing.T) {
	type row struct {
		Name string `json:"name"`
		Gone string `json:"gone,omitempty"`
	}
	l, _ := open(t)
	err := l.Update(t.Context(), func(tx *ledger.Txn) error {
		return tx.Put(tableA, []byte("k"), []byte(`{"name":"old","two_operators":["a","b"],"gone":"x","Name2":{"z":1}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	err = l.Update(t.Context(), func(tx *ledger.Txn) error {
		var r row
		if _, err := tx.View.Load(tableA, []byte("k"), &r); err != nil {
			return err
		}
		r.Name, r.Gone = "new", ""
		if err := tx.Save(tableA, []byte("k"), r); err != nil {
			return err
		}
		got, _, err = tx.View.Get(tableA, []byte("k"))
		return err
	})
	if want := `{"name":"new","Name2":{"z":1},"two_operators":["a","b"]}`; err != nil || string(got) != want {
		t.Errorf("the row is %s, %v, want %s", got, err, want)
	}
}
