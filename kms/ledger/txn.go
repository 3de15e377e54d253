package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"latchkey/kms/store"
)

// A View reads sealed records, all of one state.
type View struct {
	r store.Reader
	l *Ledger

	keys *vault // that the state names
}

// A Txn reads and writes sealed records.
type Txn struct {
	View   View
	tx     store.Tx
	server string  // whose head it carries on
	state  state   // of that server
	others []state // heads of the other servers, as they were; they move meanwhile
	ended  []string
	bumped bool
	still  bool    // what is written now gives nobody anything
	noted  []Event // told to who listens, once the transaction is on disk
	due    due     // to the bounds on strangers
}

// Read runs f on one consistent state.
func (l *Ledger) Read(f func(View) error) error {
	return l.store.View(func(r store.Reader) error { return f(l.view(r)) })
}

// Update runs f in a transaction that also carries the state on, and
// returns once it is on stable storage. When what is given to whom has
// changed, the epoch's high-water mark follows.
func (l *Ledger) Update(ctx context.Context, f func(*Txn) error) error {
	return l.updateAs(ctx, l.server, func(t *Txn) error {
		if err := l.spent(t.View.keys); err != nil {
			return err
		}
		return f(t)
	})
}

// updateAs is Update with a key that has sealed too much, too, and maybe as
// another server, which is none any more.
func (l *Ledger) updateAs(ctx context.Context, server string, f func(*Txn) error) error {
	if err := l.damaged(); err != nil {
		return err
	}
	var last *Txn
	began := time.Now()
	var decided error // by f, which is no failure of the store
	err := l.store.Update(ctx, func(tx store.Tx) error {
		if last != nil {
			l.strangers.undo(last.due) // of a run that did not count
		}
		t := &Txn{View: l.view(tx), tx: tx, server: server}
		last, decided = t, nil
		if decided = t.View.keys.unable(); decided != nil {
			return decided
		}
		if err := t.loadState(); err != nil {
			return err
		}
		if decided = f(t); decided != nil {
			return decided
		}
		if err := t.noteLeftOut(); err != nil {
			return err
		}
		t.countSeals()
		return tx.Put(tableMeta, stateKey(t.state.server), t.sealState())
	})
	// An update that lost to others, or that is too large, says nothing
	// against the store.
	if decided == nil && ctx.Err() == nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrTooLarge) {
		l.wrote(err)
		l.observe(time.Since(began).Seconds())
	}
	switch {
	case err == nil:
		l.strangers.done(last.due, l.Now())
		l.news.tell(last.noted, false)
	case last != nil:
		l.strangers.undo(last.due)
	}
	if err == nil {
		l.raiseMark(last.reached(), last.bumped)
	}
	return err
}

// Bump starts a new epoch, once for a transaction: what is given to whom
// changes.
func (t *Txn) Bump() {
	if !t.bumped && !t.still {
		t.state.epoch++
		t.bumped = true
	}
}

// Still runs f, which gives nobody anything: no Bump in it counts.
func (t *Txn) Still(f func() error) error {
	t.still = true
	defer func() { t.still = false }()
	return f()
}

// Has tells whether there is a row.
func (v View) Has(t *Table, key []byte) bool {
	v.l.own(t)
	return v.r.Get(t.name, key) != nil
}

// Scan calls f for each key from the given one on, ascending, until f
// returns false.
func (v View) Scan(t *Table, from []byte, f func(key []byte) bool) {
	v.l.own(t)
	v.r.Scan(t.name, from, func(key, _ []byte) bool { return f(key) })
}

// Count counts a table's rows, up to a limit.
func (v View) Count(t *Table, limit int) (n int) {
	v.Scan(t, nil, func([]byte) bool { n++; return n < limit })
	return n
}

// Get opens a row; false means that there is none. What it returns is the
// caller's.
func (v View) Get(t *Table, key []byte) (plain []byte, found bool, err error) {
	v.l.own(t)
	sealed := v.r.Get(t.name, key)
	if sealed == nil {
		return nil, false, nil
	}
	plain, _, err = v.keys.open(place{t.name, key, t.state(key)}, sealed)
	return plain, err == nil, err
}

// Load reads a row of JSON into to; false means that there is none.
func (v View) Load(t *Table, key []byte, to any) (bool, error) {
	plain, found, err := v.Get(t, key)
	if !found || err != nil {
		return false, err
	}
	if err := json.Unmarshal(plain, to); err != nil {
		return false, fmt.Errorf("reading a record of %s: %w: %w", t.name, ErrUnverified, err)
	}
	return true, nil
}

// Save writes a row of JSON. Fields that a later version put into it stay.
func (t *Txn) Save(table *Table, key []byte, row any) error {
	plain, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encoding a record of %s: %w", table.name, err)
	}
	before, found, err := t.View.Get(table, key)
	if err != nil {
		return err
	}
	if found {
		plain = keepUnknown(row, before, plain)
	}
	return t.Put(table, key, plain)
}

// Put seals and writes a row.
func (t *Txn) Put(table *Table, key, plain []byte) error {
	t.View.l.own(table)
	if table.since > 0 {
		if err := t.View.Needs("writing "+table.name, table.since); err != nil {
			return err
		}
	}
	return t.put(table.name, key, t.View.keys.seal(place{table.name, key, table.state(key)}, t.state.epoch, plain))
}

// put writes a row that the digest covers.
func (t *Txn) put(table string, key, sealed []byte) error {
	if err := t.uncount(table, key); err != nil {
		return err
	}
	if err := t.View.keys.count(&t.state.set, table, key, sealed); err != nil {
		return err
	}
	return t.tx.Put(table, key, sealed)
}

// Remove destroys a row.
func (t *Txn) Remove(table *Table, key []byte) error {
	t.View.l.own(table)
	if err := t.uncount(table.name, key); err != nil {
		return err
	}
	return t.tx.Delete(table.name, key)
}

// uncount takes the record that stands there out of the digest.
func (t *Txn) uncount(table string, key []byte) error {
	if old := t.View.r.Get(table, key); old != nil {
		return t.View.keys.count(&t.state.set, table, key, old)
	}
	return nil
}
