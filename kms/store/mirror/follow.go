package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/kms/store"
)

// unjudged is how often one step is tried that the guard cannot judge, since
// the service does not answer what it asks, before all is read anew.
const unjudged = 3

// follow keeps the copy new. A copy that is behind costs time, never truth:
// commits and views compare versions.
func (d *DB) follow() {
	stuck := 0
	for wait := 50 * time.Millisecond; d.life.Err() == nil; wait = min(2*wait, 2*time.Second) {
		start, _ := d.current()
		err := d.followFrom(start.version)
		if now, _ := d.current(); now.version > start.version {
			wait, stuck = 50*time.Millisecond, 0
		}
		if d.refused() != nil {
			return // for good
		}
		if errors.Is(err, errUnjudged) {
			stuck++
		}
		if errors.Is(err, ErrLost) || stuck >= unjudged {
			ctx, cancel := context.WithTimeout(d.life, time.Minute)
			loaded := d.load(ctx)
			cancel()
			if loaded == nil {
				stuck = 0
				continue
			}
		}

		select {
		case <-d.life.Done():
		case <-time.After(wait):
		}
	}
}

var errUnjudged = errors.New("a step could not be judged")

// followFrom takes what others write after a version, until that breaks. A
// step that could not be judged ends it: the next one leads on from there.
func (d *DB) followFrom(v Version) error {
	ctx, stop := context.WithCancel(d.life)
	defer stop()
	var missed error
	err := d.remote.Follow(ctx, v, func(v Version, changes []Change) {
		before, _ := d.current()
		switch {
		case missed != nil: // on its way already
		case v == 0:
			d.byHand(before, changes)
		case v > before.version:
			if missed = d.take(before, before.with(v, changes), append([]Change{}, changes...)); missed != nil {
				stop()
			}
		}
	})
	if missed != nil {
		return fmt.Errorf("%w: %w", errUnjudged, missed)
	}
	return err
}

// reach waits until the copy is at a version, or later.
func (d *DB) reach(ctx context.Context, v Version) (state, error) {
	for {
		s, moved := d.current()
		if err := d.refused(); err != nil {
			return s, err
		}
		if s.version >= v {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("following the store: %w", ctx.Err())
		case <-d.life.Done():
			return s, errClosed
		case <-moved:
		}
	}
}

var errClosed = errors.New("the store is closed")

// fresh is a state that holds all that was answered before.
func (d *DB) fresh(ctx context.Context) (state, error) {
	before, _ := d.current()
	v, err := d.remote.Head(ctx)
	if err != nil {
		return state{}, err
	}
	if err := before.notAfter(v); err != nil {
		return state{}, err
	}
	return d.reach(ctx, v)
}

// notAfter checks a version that was asked for when s was known: a service
// whose version has fallen was put back to an older state, and what was
// decided since is not in it.
func (s state) notAfter(v Version) error {
	if v < s.version {
		return fmt.Errorf("%w: it went back from version %d to %d; was it restored? Start the key server again", store.ErrDamaged, s.version, v)
	}
	return nil
}
