package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"latchkey/kms/store"
)

// resealRows is how many rows are sealed again in one transaction, at most;
// fewer where the store takes less.
const resealRows = 32

// listRows is how many are listed at once.
const listRows = 20_000

// Rekeying is how far a change of the data key has come.
type Rekeying struct {
	From    uint32 `json:"from"`              // the old key; 0: none is being changed
	To      uint32 `json:"to"`                // the one that seals, or will
	Left    int    `json:"left"`              // rows that are sealed with the old one
	Waiting string `json:"waiting,omitempty"` // for what, in words
}

// rekeying is what a process that changes the data key knows of it.
type rekeying struct {
	turn   chan struct{}            // held by who does it
	seen   atomic.Pointer[Rekeying] // how far it has come; nil: not here
	warned atomic.Uint32            // the key of which it was said that it is used up
	wake   chan struct{}            // something is to do
}

func newRekeying() rekeying {
	return rekeying{turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// Rekeying looks how far a change of the data key has come.
func (l *Ledger) Rekeying() (r Rekeying, err error) {
	if seen := l.rekeying.seen.Load(); seen != nil {
		return *seen, nil
	}
	err = l.Read(func(v View) error {
		if v.keys.err != nil {
			return v.keys.err
		}
		row := v.keys.row
		if r.From, r.To = row.replacing(), row.newest(); r.From != 0 {
			v.sealedWith(r.From, func(sealedRow) { r.Left++ })
		}
		return nil
	})
	return r, err
}

// RecordsLeft is how many records are sealed with the old key, if this process
// is the one that seals them again.
func (l *Ledger) RecordsLeft() (left int, here bool) {
	seen := l.rekeying.seen.Load()
	if seen == nil {
		return 0, false
	}
	return seen.Left, true
}

// GoOn goes on with a change of the data key until it is done or ctx ends. It
// ends, too, where it waits for other servers: the answer says for which.
func (l *Ledger) GoOn(ctx context.Context) (Rekeying, error) {
	select {
	case l.rekeying.turn <- struct{}{}:
		defer func() { <-l.rekeying.turn }()
	case <-ctx.Done():
		return l.Rekeying()
	}
	defer l.rekeying.seen.Store(nil)
	for {
		l.rekeying.seen.Store(nil)
		r, err := l.Rekeying()
		if err != nil || r.From == 0 || ctx.Err() != nil {
			return r, err
		}
		switch err = l.replace(ctx, &r); {
		case errors.Is(err, errWaiting), errors.Is(err, errSilent):
			r.Waiting = err.Error()
			return r, nil
		case err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrConflict):
			return r, fmt.Errorf("changing the data key: %w", err)
		}
	}
}

// replace takes the old key's place once, as far as that goes.
func (l *Ledger) replace(ctx context.Context, r *Rekeying) error {
	if err := l.updateAs(ctx, l.server, (*Txn).useKey); err != nil {
		return err
	}
	for {
		rows, heads, err := l.listOld(r)
		switch {
		case err != nil:
			return err
		case len(rows) > 0:
			if err := l.resealAll(ctx, r.From, rows); err != nil {
				return err
			}
		case l.shared && slices.Contains(heads, ""): // of when there was one server
			if err := l.updateAs(store.Alone(ctx), "", func(*Txn) error { return nil }); err != nil {
				return err
			}
		case len(heads) > 0: // of servers that have not written since
			return fmt.Errorf("%w: %s", errSilent, strings.Join(heads, ", "))
		default:
			return l.updateAs(ctx, l.server, func(t *Txn) error { return t.dropKey(r.From) })
		}
	}
}

// listOld lists rows that are sealed with the old key, and the servers whose
// heads are. In a state in which the old key still seals, or that another
// server has left already, it finds nothing out.
func (l *Ledger) listOld(r *Rekeying) (rows []sealedRow, heads []string, err error) {
	err = l.Read(func(v View) error {
		if v.keys.err == nil && (v.keys.row.replacing() != r.From || v.keys.row.Sealing == r.From) {
			return store.ErrConflict
		}
		left := 0
		v.sealedWith(r.From, func(one sealedRow) {
			left++
			if server, is := serverOf(one.key); is && one.table == nil {
				heads = append(heads, server)
			} else if len(rows) < listRows {
				rows = append(rows, one)
			}
		})
		l.rekeying.seen.Store(&Rekeying{From: r.From, To: r.To, Left: left})
		return v.keys.err
	})
	return rows, heads, err
}

// resealAll seals rows again, some at a time.
func (l *Ledger) resealAll(ctx context.Context, old uint32, rows []sealedRow) error {
	for most := resealRows; len(rows) > 0; {
		some := rows[:min(most, len(rows))]
		err := l.updateAs(ctx, l.server, func(t *Txn) error { return t.reseal(old, some) })
		if errors.Is(err, store.ErrTooLarge) && most > 1 {
			most /= 2
			continue
		}
		if err != nil {
			return err
		}
		rows = rows[len(some):]
		if seen := l.rekeying.seen.Load(); seen != nil {
			next := *seen
			next.Left -= len(some)
			l.rekeying.seen.Store(&next)
		}
	}
	return nil
}

// reseal seals rows again that are as they were, at the epoch of before. What
// lives for minutes and does not open is removed, as it soon would be.
func (t *Txn) reseal(old uint32, rows []sealedRow) error {
	for _, one := range rows {
		at := one.place()
		sealed := t.View.r.Get(at.table, one.key)
		if by, _, is := keyOf(sealed); !is || by != old {
			continue
		}
		passes := one.table != nil && one.table.kind == Passing
		plain, epoch, err := t.View.keys.open(at, sealed)
		switch {
		case err != nil && passes:
			err = t.tx.Delete(at.table, one.key)
		case err == nil && passes:
			err = t.tx.Put(at.table, one.key, t.View.keys.seal(at, epoch, plain))
		case err == nil:
			err = t.put(at.table, one.key, t.View.keys.seal(at, epoch, plain))
		}
		clear(plain)
		if err != nil {
			return err
		}
	}
	return nil
}

// A sealedRow is where a record stands.
type sealedRow struct {
	table *Table // nil: tableMeta
	key   []byte
}

func (r sealedRow) place() place {
	if r.table == nil {
		return place{tableMeta, r.key, 0}
	}
	return place{r.table.name, r.key, r.table.state(r.key)}
}

// sealedWith calls f with what is sealed with a data key.
func (v View) sealedWith(id uint32, f func(sealedRow)) {
	find := func(name string, t *Table) {
		v.r.Scan(name, nil, func(key, value []byte) bool {
			if by, _, is := keyOf(value); is && by == id && !plainMeta(name, key) {
				f(sealedRow{t, bytes.Clone(key)})
			}
			return true
		})
	}
	find(tableMeta, nil)
	for _, t := range v.l.tables {
		find(t.name, t)
	}
}
