// Package store says where a KMS keeps its state: tables of keys and
// values, changed in transactions. It knows nothing of what the values
// mean; the server seals them.
package store

import (
	"context"
	"errors"
	"io"
)

// ErrDamaged is a store whose own structure is broken.
var ErrDamaged = errors.New("the database is damaged")

// Errors of updates that say nothing against the store.
var (
	// ErrConflict is an update that lost to others, again and again.
	ErrConflict = errors.New("others wrote first, again and again")
	// ErrTooLarge is an update that no single request of the service carries.
	ErrTooLarge = errors.New("the update is too large for this store")
)

// A Row is a row put, or removed if Value is nil.
type Row struct {
	Table, Key string
	Value      []byte
}

// A Step is what somebody else did to a store.
type Step struct {
	Before, After Reader
	Rows          []Row // what was changed; nil: the store was read anew
}

// Watched is a store to which others write, too.
type Watched interface {
	Store
	// Guard has f judge each step that others take, before anything is read
	// from what it led to. After an error of f the store gives nothing and
	// takes nothing any more, and says why.
	Guard(f func(Step) error)
}

// A Reader reads one consistent state. What it gives is valid until the
// transaction ends, and must not be changed.
type Reader interface {
	// Get returns nil if there is no such key.
	Get(table string, key []byte) []byte
	// Scan calls f for each key from the given one on, ascending, until f
	// returns false.
	Scan(table string, from []byte, f func(key, value []byte) bool)
}

// A Tx is a transaction that may write.
type Tx interface {
	Reader
	Put(table string, key, value []byte) error
	Delete(table string, key []byte) error
}

// A Store keeps state. Its methods may be called at once.
type Store interface {
	View(f func(Reader) error) error
	// Update runs f in a transaction and returns once what it wrote is on
	// stable storage; several may share one write to it. An error of f
	// leaves nothing of it behind. f may run more than once, with only the
	// last run counting: it must not change anything but the transaction
	// before it knows.
	Update(ctx context.Context, f func(Tx) error) error
	// Backup writes one consistent state, in the form that the store opens.
	Backup(w io.Writer) error
	Close() error
}
