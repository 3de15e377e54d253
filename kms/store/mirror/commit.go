package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"latchkey/kms/store"
)

// maxGroup bounds how many updates share one write.
const maxGroup = 512

// A job is one update that waits for its group.
type job struct {
	ctx  context.Context
	f    func(store.Tx) error
	done chan error
}

// commit runs the updates in groups: while one group is being written, the
// next gathers. A lone update waits for nobody.
func (d *DB) commit() {
	defer close(d.done)
	for first := range d.queue {
		group := []*job{first}
		for more := true; more && len(group) < maxGroup; {
			select {
			case j, open := <-d.queue:
				if more = open; open {
					group = append(group, j)
				}
			default:
				more = false
			}
		}
		d.run(group)
	}
}

// run writes a group, in as many requests as it needs.
func (d *DB) run(group []*job) {
	for len(group) > 0 {
		group = group[d.some(group):]
	}
}

// some answers the first updates of a group: one when what it was run on was
// the newest state, also if it failed or wrote nothing; all of them if the
// service does not answer.
func (d *DB) some(group []*job) int {
	ctx, cancel := context.WithTimeout(d.life, d.c.Wait)
	defer cancel()
	for tries := 0; ; tries++ {
		base, _ := d.current()
		w, results := d.try(ctx, base, group, tries == 0 && d.alone())
		done, err := d.settle(ctx, base, w)
		if errors.Is(err, ErrConflict) {
			d.conflicts.Add(1)
			if err = d.catchUp(ctx, base, done.Version, tries); err == nil {
				continue
			}
		}
		if err != nil {
			results = make([]error, len(group))
			for i := range results {
				results[i] = err
			}
		}

		for i, result := range results {
			group[i].done <- result
		}
		if err == nil {
			d.commits.Add(1)
			d.compared.Add(uint64(w.reads.len()))
			d.written.Add(uint64(w.count))
			d.reach(ctx, done.Version) // the next ones build on it; if this fails they conflict, no more
		}
		return len(results)
	}
}

// alone tells whether no other server has written lately. Then an update
// holds to all that there is, which is one comparison, and more of them share
// a request; if another has written after all, they hold to what they read.
func (d *DB) alone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.c.Quiet > 0 && time.Since(d.other) > d.c.Quiet
}

// try runs as many updates of a group as one request carries.
func (d *DB) try(ctx context.Context, base state, group []*job, alone bool) (*writer, []error) {
	w := &writer{reader: reader{d, ctx, base}, reads: reads{all: alone}}
	var results []error
	for i, j := range group {
		if i > 0 && (store.IsAlone(j.ctx) || store.IsAlone(group[0].ctx)) {
			return w, results
		}
		next := w.fork()
		err := j.ctx.Err()
		if err == nil {
			err = safely(func() error { return j.f(next) })
		}

		switch {
		case i > 0 && !d.remote.Narrow(next.reads.len()):
			return w, results[:i]
		case err != nil:
			w.reads = next.reads // what it read is why it failed
		case d.remote.Fits(next.count+len(next.gone), next.size):
			w = next
		case w.count > 0:
			return w, results[:i]
		default:
			err = next.tooLarge()
		}

		results = append(results, err)
	}

	return w, results
}

// settle writes what was tried; without anything to write it makes sure
// that what was read is still so.
func (d *DB) settle(ctx context.Context, base state, w *writer) (done Written, err error) {
	if err := d.refused(); err != nil {
		return done, err
	}
	changes := w.list()
	d.mu.Lock()
	other := d.other
	d.mu.Unlock()
	done, err = d.remote.Commit(ctx, base.version, w.reads.list(), changes)
	if err == nil && len(changes) > 0 && done.Next { // else following shows it
		d.install(base.with(done.Version, changes))
		d.mu.Lock()
		d.other = other // what was followed meanwhile was this very write
		d.mu.Unlock()
	}
	return done, err
}

// catchUp waits for what others have written. Who lost often waits longer,
// so that two who keep up with each other both get on.
func (d *DB) catchUp(ctx context.Context, base state, seen Version, tries int) error {
	if err := base.notAfter(seen); err != nil {
		return err
	}
	if _, err := d.reach(ctx, seen); err != nil {
		return err
	}

	if tries == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("writing to the store: %w: %w", store.ErrConflict, ctx.Err())
	case <-time.After(rand.N(min(time.Duration(tries), 20) * time.Millisecond)):
		return nil
	}
}
