// Package storetest is what every store of a KMS must do. A store passes
// all of it, or it is none.
package storetest

import (
	"context"
	"errors"
	"testing"

	"latchkey/kms/store"
)

// Tables that a store under test must have. Log is one that a store may
// treat as a log: long, and rarely read.
const (
	A   = "a"
	B   = "b"
	Log = "log"
)

// Tables lists them.
func Tables() []string { return []string{A, B, Log} }

// A Place is where one store stands, made and empty.
type Place struct {
	Open   func() (store.Store, error)
	Damage func(testing.TB)                   // breaks its structure while nobody has it open
	Accept func(backup []byte) (Place, error) // a place that holds a backup
	Shared bool                               // several may have it open at once
	Serial bool                               // every write is a conflict with any other
	Apart  bool                               // those that touch other rows are not in each other's way
	Large  int                                // bytes of a value near the store's limit
}

// Run runs the suite. Each test gets a place of its own.
func Run(t *testing.T, make func(testing.TB) Place) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"rows are there after reopening", (*suite).reopen},
		{"an update is whole or not there", (*suite).atomic},
		{"a view is one state", (*suite).isolated},
		{"scans are in order and end when told", (*suite).scans},
		{"an update reads what it wrote", (*suite).ownWrites},
		{"no update is lost", (*suite).counters},
		{"what one read and another wrote is read again", (*suite).writeSkew},
		{"a range that was read counts as read", (*suite).phantoms},
		{"interleaved", (*suite).interleaved},
		{"large values", (*suite).large},
		{"many keys", (*suite).many},
		{"a canceled update leaves nothing", (*suite).canceled},
		{"a panic ends one update only", (*suite).panics},
		{"a backup is one whole state", (*suite).backup},
		{"a damaged store is refused", (*suite).damaged},
		{"a closed store says so", (*suite).closed},
		{"as a model says", (*suite).model},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, place: make(t)}
			s.db = s.open()
			test.run(s)
		})
	}
}

type suite struct {
	*testing.T
	place Place
	db    store.Store
}

var ctx = context.Background()

func (s *suite) open() store.Store {
	s.Helper()
	db, err := s.place.Open()
	if err != nil {
		s.Fatalf("opening: %v", err)
	}
	s.Cleanup(func() { db.Close() })
	return db
}

func (s *suite) update(db store.Store, f func(store.Tx) error) {
	s.Helper()
	if err := db.Update(ctx, f); err != nil {
		s.Fatalf("Update = %v", err)
	}
}

func (s *suite) put(table, key, value string) {
	s.Helper()
	s.update(s.db, func(tx store.Tx) error { return tx.Put(table, []byte(key), []byte(value)) })
}

// rows is a table as text, from a key on.
func rows(r store.Reader, table, from string) (out string) {
	r.Scan(table, []byte(from), func(key, value []byte) bool {
		out += string(key) + "=" + string(value) + " "
		return true
	})
	return out
}

func (s *suite) want(db store.Store, table, want string) {
	s.Helper()
	err := db.View(func(r store.Reader) error {
		if got := rows(r, table, ""); got != want {
			s.Errorf("table %s is %q, want %q", table, got, want)
		}
		return nil
	})
	if err != nil {
		s.Fatalf("View = %v", err)
	}
}

func (s *suite) reopen() {
	s.put(A, "k", "1")
	s.put(A, "k", "2")
	s.put(B, "k", "other")
	s.put(Log, "\x00\x00\xff", "binary")
	s.put(A, "gone", "3")
	s.update(s.db, func(tx store.Tx) error { return tx.Delete(A, []byte("gone")) })
	s.update(s.db, func(tx store.Tx) error { return tx.Delete(A, []byte("never there")) })
	if err := s.db.Close(); err != nil {
		s.Fatal(err)
	}
	db := s.open()
	s.want(db, A, "k=2 ")
	s.want(db, B, "k=other ")
	s.want(db, Log, "\x00\x00\xff=binary ")
}

var errOnPurpose = errors.New("on purpose")
