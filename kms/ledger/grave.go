package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// DefaultGrace is how long what an operator deleted can be had again.
const DefaultGrace = 30 * 24 * time.Hour

// graveEvery is how often it is looked for graves whose time has come.
const graveEvery = time.Minute

// graveJump is how far the wall clock may have been set since the process
// began, for its word to destroy anything.
const graveJump = time.Hour

// graveFirst is how long after the start nothing is destroyed.
const graveFirst = time.Hour

// gravePrefix begins the keys of graves in a table of their owner's. An
// earlier program counts such rows and looks at none: it gives nothing of
// what was deleted.
var gravePrefix = []byte("\xffdeleted\x00")

// A Graveyard has what operators deleted of one kind, until its grace ends.
type Graveyard struct {
	Table *Table
	Event string // in the audit log, once it is destroyed
	// Mine tells whether a key is of this kind; nil: all are.
	Mine func(key []byte) bool
	// Destroy destroys what is left of it beside its grave, and says of what
	// the event is.
	Destroy func(t *Txn, key []byte, g Grave) (Event, error)
}

// A Grave is what is kept of one thing that was deleted. Times are to the
// second.
type Grave struct {
	Deleted time.Time
	Until   time.Time // then it is destroyed
	By      string    // who deleted it
	Kept    []byte    // its owner's
}

// SetGrace says how long what is deleted from now on can be had again; 0: not
// at all. What was deleted before stays for as long as it was told then.
func (l *Ledger) SetGrace(d time.Duration) { l.grace.Store(int64(d)) }

// Grace is that time.
func (l *Ledger) Grace() time.Duration { return time.Duration(l.grace.Load()) }

// At is where the grave of a key stands.
func (y *Graveyard) At(key []byte) []byte { return append(bytes.Clone(gravePrefix), key...) }

// Bury keeps something for the ledger's grace. It is the caller's to make
// sure that nothing is given of it meanwhile.
func (t *Txn) Bury(y *Graveyard, key, kept []byte, by string) error {
	return t.BuryFor(y, key, kept, by, t.View.l.Grace())
}

// BuryFor is Bury for another time.
func (t *Txn) BuryFor(y *Graveyard, key, kept []byte, by string, d time.Duration) error {
	now := t.View.l.Wall()
	by = by[:min(len(by), 255)]
	b := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(now.Add(d).Unix()))
	b = append(append(append(b, byte(len(by))), by...), kept...)
	defer clear(b)
	return t.Put(y.Table, y.At(key), b)
}

// Buried finds what was deleted. Kept is the caller's, to be cleared if it is
// secret.
func (v View) Buried(y *Graveyard, key []byte) (g Grave, found bool, err error) {
	b, found, err := v.Get(y.Table, y.At(key))
	if err != nil || !found {
		return g, false, err
	}
	if len(b) < 17 || len(b) < 17+int(b[16]) {
		return g, false, fmt.Errorf("reading what was deleted: %w", ErrUnverified)
	}
	by, kept := b[17:17+int(b[16])], b[17+int(b[16]):]
	second := func(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint64(b)), 0).UTC() }
	return Grave{second(b), second(b[8:]), string(by), kept}, true, nil
}

// Unbury removes a grave: what was deleted is there again, or destroyed.
func (t *Txn) Unbury(y *Graveyard, key []byte) error { return t.Remove(y.Table, y.At(key)) }

// WatchGraves destroys what was deleted once its grace has ended, until ctx
// ends. Of several servers one does it; the others find it done.
//
// It begins late: a host whose clock has lost its battery gets the time from
// others after it has started, and that shows in Jump.
func (l *Ledger) WatchGraves(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(graveFirst):
	}
	tick := time.NewTicker(graveEvery)
	defer tick.Stop()
	for {
		for _, y := range l.graveyards {
			if err := l.endGraces(ctx, y); err != nil && ctx.Err() == nil {
				l.log.Warn("what was deleted could not be destroyed; it is tried again in a minute", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// endGraces destroys what is due, each in a transaction of its own: stores
// bound those.
func (l *Ledger) endGraces(ctx context.Context, y *Graveyard) error {
	due, err := l.dueGraves(y)
	for _, key := range due {
		if err != nil {
			return err
		}
		err = l.Update(ctx, func(t *Txn) error { return t.endGrace(y, key) })
		if errors.Is(err, errNotDue) {
			err = nil
		}
	}
	return err
}

// errNotDue is a grave that another server, or the operator, was faster with.
var errNotDue = errors.New("it is not due")

// dueGraves are the keys of those whose time has come, by a wall clock that
// was not set meanwhile.
func (l *Ledger) dueGraves(y *Graveyard) (due [][]byte, err error) {
	if l.Jump().Abs() >= graveJump {
		return nil, nil
	}
	err = l.Read(func(v View) (err error) {
		v.Scan(y.Table, gravePrefix, func(at []byte) bool {
			key, below := bytes.CutPrefix(at, gravePrefix)
			if !below {
				return false
			}
			if y.Mine != nil && !y.Mine(key) {
				return true
			}
			var g Grave
			if g, _, err = v.Buried(y, key); err == nil && !l.Wall().Before(g.Until) {
				due = append(due, bytes.Clone(key))
			}
			clear(g.Kept)
			return err == nil
		})
		return err
	})
	return due, err
}

func (t *Txn) endGrace(y *Graveyard, key []byte) error {
	g, found, err := t.View.Buried(y, key)
	defer clear(g.Kept)
	if err != nil {
		return err
	}
	if !found || t.View.l.Wall().Before(g.Until) {
		return errNotDue
	}
	t.Bump()
	e, err := y.Destroy(t, key, g)
	if err != nil {
		return err
	}
	e.Event = y.Event
	if e.Detail != "" {
		e.Detail += "; "
	}
	e.Detail += fmt.Sprintf("deleted by %s at %s, and its grace has ended", g.By, g.Deleted.Format(time.RFC3339))
	if err := t.Unbury(y, key); err != nil {
		return err
	}
	return t.Note(e)
}
