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
	At         int64 // the version at which it was put; 0 where that is not kept
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

// Counts are what this process has written to a store that others share.
type Counts struct {
	Commits   uint64 // done
	Conflicts uint64 // that had to be tried again: others had changed what they read
	Compared  uint64 // rows and ranges that those done rested on
	Written   uint64 // rows that they put or removed
}

// A Counter is a store that counts.
type Counter interface{ Counts() Counts }

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

// A Glancer is a transaction that need not hold to all that it read.
type Glancer interface {
	// Glance reads what the transaction reads, but others may change it
	// before the transaction is written: for what only bounds or cleans up.
	Glance() Reader
}

// Glance is what r can read without holding to it.
func Glance(r Reader) Reader {
	if g, ok := r.(Glancer); ok {
		return g.Glance()
	}
	return r
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

type alone struct{}

// Alone has an update share its write with no other one.
func Alone(ctx context.Context) context.Context { return context.WithValue(ctx, alone{}, true) }

// IsAlone tells whether the update that a context is given to shares its write
// with no other one.
func IsAlone(ctx context.Context) bool { return ctx.Value(alone{}) != nil }
