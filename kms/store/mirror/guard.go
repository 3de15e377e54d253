package mirror

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"latchkey/kms/store"
)

// Guard implements store.Watched.
func (d *DB) Guard(f func(store.Step) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.guard = f
}

// take makes what others led to the current state, unless the guard refuses
// it. Changes are those since before; nil if all was read anew. Meanwhile an
// update of ours may have made a later state the current one.
func (d *DB) take(before, next state, changes []Change) error {
	d.mu.Lock()
	guard := d.guard
	d.mu.Unlock()
	if guard != nil && before.tables != nil {
		step := store.Step{Before: &reader{d, d.life, before}, After: &reader{d, d.life, next}, Rows: changes}
		var verdict error
		if err := safely(func() error { verdict = guard(step); return nil }); err != nil {
			return err // the service did not answer: nothing was judged, and nothing is taken
		}
		if verdict != nil {
			d.refuse(verdict)
			return verdict
		}
	}
	if before.tables != nil {
		d.mu.Lock()
		d.other = time.Now()
		d.mu.Unlock()
	}
	d.install(next)
	return nil
}

// byHand refuses rows that somebody wrote past the protocol, if they are not
// as they were: a server that reads the store anew would take them. If they
// are, only the version at which each was put is another.
func (d *DB) byHand(before state, changes []Change) {
	d.refuseOthers(before, changes)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bad == nil && d.now.version == before.version {
		d.now = before.with(before.version, changes)
	}
}

func (d *DB) refuseOthers(before state, changes []Change) {
	for _, c := range changes {
		t, held := before.tables[c.Table]
		if !held && !slices.Contains(d.c.Logs, c.Table) {
			continue
		}
		if old, _ := t.get(c.Key); held && bytes.Equal(old, c.Value) && (old == nil) == (c.Value == nil) {
			continue
		}
		err := fmt.Errorf("%w: somebody who is no key server wrote a row of %s; restore it, and start the key server again", store.ErrDamaged, c.Table)
		d.mu.Lock()
		guard := d.guard
		d.mu.Unlock()
		if guard != nil {
			d.refuse(err)
		}
		return
	}
}

// refuse ends the use of the store, and wakes who waits for it.
func (d *DB) refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bad == nil {
		d.bad = err
		close(d.moved)
		d.moved = make(chan struct{})
	}
}

func (d *DB) refused() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bad
}
