package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"latchkey/kms/store"
)

// keyFormat is the record of tableMeta that says how the rest is written. It
// is not sealed, so that it can be read before any key, but counted.
var keyFormat = []byte("format")

// A format says which versions of this program may open a store.
type format struct {
	Version int `json:"version"` // how it is written: of the newest program that wrote it anew
	Writer  int `json:"writer"`  // the lowest version that may write to it
}

// formatSegments is the format from which on there are sealed segments of the
// audit log, which earlier programs take for damage.
const formatSegments = 2

// formatKeys is the format from which on records name their data key, which
// can be changed.
const formatKeys = 3

// FormatPeople is the format from which on the policy, recovery keys, and what
// is known of presence and of sites stand in tables of their own.
const FormatPeople = 3

// current is the format of this program.
var current = format{Version: formatKeys, Writer: formatKeys}

// ErrNewer is a store that a later version of this program has changed.
var ErrNewer = errors.New("the store is of a newer version of latchkey")

func (f format) encode() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // two numbers
	}
	return b
}

// checkFormat refuses a store that this program would damage. What the
// record says beside is for later versions.
func checkFormat(r store.Reader) error {
	raw := r.Get(tableMeta, keyFormat)
	if raw == nil && r.Get(tableMeta, keyWrapped) == nil {
		return nil // no KMS at all: said by who looks for its key
	}
	f, err := readFormat(r)
	if err != nil {
		return err
	}
	if f.Writer > current.Version {
		return fmt.Errorf("opening the store: %w: it is written in format %d, this program writes format %d, and format %d is the lowest that may; install the newer version", ErrNewer, f.Version, current.Version, f.Writer)
	}
	return nil
}

func readFormat(r store.Reader) (f format, err error) {
	if err := json.Unmarshal(r.Get(tableMeta, keyFormat), &f); err != nil || f.Version < 1 || f.Writer < 1 {
		return f, fmt.Errorf("reading the store's format: %w: there is no record of it, or none that can be read", ErrUnverified)
	}
	return f, nil
}

// Format is in which format the store is written, and the one of this
// program.
func (l *Ledger) Format() (is, ours int, err error) {
	err = l.Read(func(v View) error {
		f, err := readFormat(v.r)
		is = f.Version
		return err
	})
	return is, current.Version, err
}

// Needs is an error, which says what to do, if the store is of an earlier
// format than what somebody wants to use.
func (v View) Needs(what string, since int) error {
	f, err := readFormat(v.r)
	if err == nil && f.Version < since {
		err = fmt.Errorf("%s: %w: it needs a store of format %d, and this one is in format %d, for key servers of before; once none of them runs on it, run: latchkey-kms store upgrade", what, ErrRefused, since, f.Version)
	}
	return err
}

// HasSegments tells whether the store is of a format with sealed segments of
// the audit log.
func (l *Ledger) HasSegments() (bool, error) {
	is, _, err := l.Format()
	return is >= formatSegments, err
}

// Upgrade has the store written in this program's format from now on: no
// earlier one opens it any more, and those that run on it stop. It tells
// from which format on.
func (l *Ledger) Upgrade(ctx context.Context) (from int, err error) {
	err = l.Update(ctx, func(t *Txn) error {
		f, err := readFormat(t.View.r)
		if err != nil {
			return err
		}
		if from = f.Version; from >= current.Version {
			return nil
		}
		t.Bump()
		if err := t.put(tableMeta, keyFormat, current.encode()); err != nil {
			return err
		}
		if err := t.nameKeys(); err != nil {
			return err
		}
		return t.Note(Event{Event: "store upgrade", From: Who(ctx), Detail: fmt.Sprintf("from format %d to %d", from, current.Version)})
	})
	return from, err
}

// nameKeys has the store name its data key, and the KMS: what it is called
// was derived from that key.
func (t *Txn) nameKeys() error {
	v := t.View.keys
	if !v.row.first() {
		return nil
	}
	first := v.row.Keys[0]
	first.Print = v.sealing.print
	if err := t.putKeys(keyRow{firstKey, []wrappedKey{first}}); err != nil {
		return err
	}
	return t.put(tableMeta, keyName, t.View.keys.seal(place{tableMeta, keyName, 0}, t.state.epoch, t.View.l.name))
}
