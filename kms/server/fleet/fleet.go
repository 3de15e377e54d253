// Package fleet keeps the machines of one protocol: those that an operator
// approved or deleted in one table, those that wait for him in another,
// which is bounded. What a machine is, is the protocol's business.
package fleet

import (
	"context"
	"fmt"

	"latchkey/kms/ledger"
)

// A State is what the operator decided.
type State string

const (
	Pending  State = "pending"
	Approved State = "approved"
	Deleted  State = "deleted" // a tombstone: it stays refused, until an operator takes that back
)

// An Enrollment says what becomes of a machine that nobody approved.
type Enrollment string

const (
	// Approve makes a pending row of it, for the operator to approve.
	Approve Enrollment = "approve"
	// Closed refuses it: ids are registered beforehand.
	Closed Enrollment = "closed"
	// Tofu approves a machine at first sight, as Kairos' server does:
	// whoever asks first from a LAN gets a row.
	Tofu Enrollment = "tofu"
	// Cert is Approve for nodes whose EK has a vendor's certificate, by
	// roots that the operator chose. Others do not even get a row.
	Cert Enrollment = "cert"
)

// MaxTofu bounds the machines of a protocol that are approved at first
// sight: a key in software is a machine, too.
const MaxTofu = 10_000

// A Row is a machine's record.
type Row interface {
	Key() []byte
	Name() string // as the audit log has it
	Standing() State
	Waiting() Waiter
}

// A Fleet is the machines of one protocol. Its rows are JSON.
type Fleet[R Row] struct {
	nodes, pending *ledger.Table
	room           room
	most           int // machines that may be known; 0: any number
}

// New makes a fleet whose rows are in the table nodes, or, until they are
// approved, in pending.
func New[R Row](nodes, pending string) *Fleet[R] {
	return &Fleet[R]{nodes: ledger.NewTable(nodes, ledger.Sealed), pending: ledger.NewTable(pending, ledger.Sealed)}
}

// Bound limits how many machines may be known: a store that is made for
// no more takes no more. Those that are there stay, and get their keys.
func (f *Fleet[R]) Bound(most int) { f.most = most }

// Most is that number; 0: any.
func (f *Fleet[R]) Most() int { return f.most }

// spare is an error if a machine that is not known yet is one too many.
func (f *Fleet[R]) spare(v ledger.View, key []byte) error {
	if f.most == 0 || v.Has(f.nodes, key) || v.Glance().Count(f.nodes, f.most) < f.most {
		return nil
	}
	return fmt.Errorf("%w: there are %d machines, and this store is for no more; move to another: latchkey-kms store migrate", ledger.ErrRefused, f.most)
}

// Tables are those of the fleet, to register.
func (f *Fleet[R]) Tables() []*ledger.Table { return []*ledger.Table{f.nodes, f.pending} }

// Get finds a machine in whichever table it is.
func (f *Fleet[R]) Get(v ledger.View, key []byte) (row R, found bool, err error) {
	for _, table := range []*ledger.Table{f.nodes, f.pending} {
		if found, err = v.Load(table, key, &row); found || err != nil {
			return row, found, err
		}
	}
	return row, false, nil
}

// Put keeps a row in the table where it belongs, and nowhere else.
func (f *Fleet[R]) Put(t *ledger.Txn, row R) error {
	here, other := f.nodes, f.pending
	if row.Standing() == Pending {
		here, other = f.pending, f.nodes
	} else if err := f.spare(t.View, row.Key()); err != nil {
		return err
	}
	if t.View.Has(other, row.Key()) {
		if err := t.Remove(other, row.Key()); err != nil {
			return err
		}
		if other == f.pending {
			f.room.leave(row.Key())
		}
	}
	return t.Save(here, row.Key(), row)
}

// Drop forgets a machine that waits.
func (f *Fleet[R]) Drop(t *ledger.Txn, key []byte) error { return t.Remove(f.pending, key) }

// Forget removes a machine that is known: what it has is elsewhere.
func (f *Fleet[R]) Forget(t *ledger.Txn, key []byte) error { return t.Remove(f.nodes, key) }

// All calls g with each machine, those that wait first, until it returns
// an error.
func (f *Fleet[R]) All(v ledger.View, g func(R) error) error {
	if err := each(v, f.pending, g); err != nil {
		return err
	}
	return each(v, f.nodes, g)
}

// Keys calls g with the key of each machine, those that wait first, until it
// returns false. No row is opened.
func (f *Fleet[R]) Keys(v ledger.View, g func(key []byte) bool) {
	going := true
	for _, table := range []*ledger.Table{f.pending, f.nodes} {
		v.Scan(table, nil, func(key []byte) bool {
			going = going && g(key)
			return going
		})
	}
}

// Waiting calls g with each machine that waits for approval.
func (f *Fleet[R]) Waiting(v ledger.View, g func(R) error) error { return each(v, f.pending, g) }

// Known calls g with each machine that does not wait for approval.
func (f *Fleet[R]) Known(v ledger.View, g func(R) error) error { return each(v, f.nodes, g) }

func each[R Row](v ledger.View, table *ledger.Table, g func(R) error) (err error) {
	v.Scan(table, nil, func(key []byte) bool {
		var row R
		if _, err = v.Load(table, key, &row); err == nil {
			err = g(row)
		}
		return err == nil
	})
	return err
}

// Pending counts the machines that wait.
func (f *Fleet[R]) Pending(v ledger.View) int { return v.Glance().Count(f.pending, maxPending) }

// Tofu tells whether there is room for one more that is approved at first
// sight.
func (f *Fleet[R]) Tofu(v ledger.View) bool {
	most := MaxTofu
	if f.most > 0 {
		most = min(most, f.most)
	}
	return v.Glance().Count(f.nodes, most) < most
}

// A Change is one of the operator's commands to one machine.
type Change[R Row] struct {
	Event  string // for the audit log
	Verb   string // for errors
	Detail string
	Find   func(*ledger.Txn) (R, error)
	// Deleted: the command is for machines that were deleted, and for no others.
	Deleted bool
	// Do changes the row; its error is why not.
	Do func(*ledger.Txn, *R) error
}

// Change does a command, in a transaction that records it.
func (f *Fleet[R]) Change(ctx context.Context, l *ledger.Ledger, c Change[R]) (row R, err error) {
	err = l.Update(ctx, func(t *ledger.Txn) error {
		if row, err = c.Find(t); err != nil {
			return err
		}
		switch was := row.Standing() == Deleted; {
		case was && !c.Deleted:
			return fmt.Errorf("%s: %w: it was deleted, and stays refused until \"undelete\" lets it ask again", c.Verb, ledger.ErrRefused)
		case c.Deleted && !was:
			return fmt.Errorf("%s: %w: it was not deleted, it is %s", c.Verb, ledger.ErrRefused, row.Standing())
		}
		t.Bump()
		if err := c.Do(t, &row); err != nil {
			return fmt.Errorf("%s: %w", c.Verb, err)
		}
		if err := f.Put(t, row); err != nil {
			return err
		}
		return t.Note(ledger.Event{Event: c.Event, Node: row.Name(), From: ledger.Who(ctx), Detail: c.Detail})
	})
	return row, err
}

// Refuse is an error that says why a command is not done.
func Refuse(why string) error { return fmt.Errorf("%w: %s", ledger.ErrRefused, why) }

// Describe is a machine's state in a word.
func Describe(s State, stopped bool) string {
	if stopped && s != Deleted {
		return "quarantined"
	}
	return string(s)
}
