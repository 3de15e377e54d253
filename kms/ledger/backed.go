package ledger

import (
	"context"
	"encoding/json"
	"fmt"
)

// backedKey is the row of tableKeys that says how far the newest good backup
// has come: no key of a ring, whose names begin with a letter.
var backedKey = []byte{2}

// A Step is one transaction of one server, as others can tell whether they
// have it.
type Step struct {
	Server string `json:"server,omitempty"` // "" where there is only one
	Change uint64 `json:"change"`           // of that server
	Epoch  uint64 `json:"epoch"`
}

// Step is this transaction. What it writes begins an epoch, or had begun one.
func (t *Txn) Step() Step { return Step{t.state.server, t.state.seq, t.state.epoch} }

// Position is where the database is. A copy that is begun later has come at
// least as far.
func (l *Ledger) Position() (p Position, err error) {
	err = l.Read(func(v View) error {
		w, err := v.readState()
		p = w.position()
		return err
	})
	return p, err
}

// NoteBackup remembers that there is a good backup, which has come at least
// as far as a Position that was taken before it was begun.
func (l *Ledger) NoteBackup(ctx context.Context, at Position) error {
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := l.Update(ctx, func(t *Txn) error { return t.Put(tableKeys, backedKey, text) }); err != nil {
		return fmt.Errorf("remembering that there is a backup: %w", err)
	}
	return nil
}

// BackedUp tells whether the newest good backup has what a step wrote.
func (v View) BackedUp(s Step) (bool, error) {
	var at Position
	found, err := v.Load(tableKeys, backedKey, &at)
	if err != nil || !found {
		return false, err
	}
	if at.Heads == "" && s.Server == "" {
		return at.Epoch >= s.Epoch, nil
	}
	heads, err := readHeads(at.Heads)
	if n, has := heads[s.Server]; has && err == nil {
		return n >= s.Change, nil
	}
	return at.Epoch > s.Epoch, nil // a server that is gone, or was alone then
}
