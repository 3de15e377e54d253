package mirror_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
)

// A service is what several remotes share, in memory, with faults: history
// that is gone, answers that are late or lost.
type service struct {
	mu      sync.Mutex
	rows    map[[2]string][]byte
	put     map[[2]string]mirror.Version // when each row was
	gone    map[string]mirror.Version    // when a row of a table was removed last
	serial  bool                         // compares no rows: any other write is a conflict
	log     []entry                      // log[0] moved the service to version first+1
	first   mirror.Version
	moved   chan struct{}
	random  *rand.Rand
	faults  bool
	damaged bool
}

type entry struct{ changes []mirror.Change }

func newService() *service {
	return &service{rows: map[[2]string][]byte{}, put: map[[2]string]mirror.Version{}, gone: map[string]mirror.Version{}, first: 1, moved: make(chan struct{}), random: rand.New(rand.NewPCG(7, 8))}
}

func (s *service) version() mirror.Version { return s.first + mirror.Version(len(s.log)) }

// chance is true once in n times, if there are faults.
func (s *service) chance(n int) bool { return s.faults && s.random.IntN(n) == 0 }

func (s *service) apply(changes []mirror.Change) {
	for _, c := range changes {
		if at := [2]string{c.Table, c.Key}; c.Value == nil {
			delete(s.rows, at)
			delete(s.put, at)
			s.gone[c.Table] = s.version() + 1
		} else {
			s.rows[at], s.put[at] = c.Value, s.version()+1
		}
	}
	s.log = append(s.log, entry{changes})
	if s.chance(10) { // history is compacted
		s.first += mirror.Version(len(s.log))
		s.log = nil
	}
	close(s.moved)
	s.moved = make(chan struct{})
}

// A remote is one way to the service.
type remote struct{ s *service }

func (r *remote) Load(_ context.Context, tables []string) (mirror.Version, []mirror.Change, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.damaged {
		return 0, nil, store.ErrDamaged
	}
	var all []mirror.Change
	for at, value := range r.s.rows {
		if slices.Contains(tables, at[0]) {
			all = append(all, mirror.Change{Table: at[0], Key: at[1], Value: value, At: int64(r.s.put[at])})
		}
	}
	return r.s.version(), all, nil
}

func (r *remote) Head(context.Context) (mirror.Version, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.version(), nil
}

func (r *remote) Commit(_ context.Context, at mirror.Version, reads mirror.Reads, changes []mirror.Change) (mirror.Written, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.chance(8) { // a fence of one whose answer was lost
		r.s.apply(nil)
	}
	if r.s.stale(at, reads) {
		return mirror.Written{Version: r.s.version()}, mirror.ErrConflict
	}
	if len(changes) == 0 {
		return mirror.Written{Version: at}, nil
	}
	r.s.apply(changes)
	done := mirror.Written{Version: r.s.version(), Next: r.s.version() == at+1}
	if r.s.chance(8) { // followed by another before the answer
		r.s.apply(nil)
		done = mirror.Written{Version: r.s.version()}
	}
	return done, nil
}

// stale tells whether what was read at a version is another now.
func (s *service) stale(at mirror.Version, reads mirror.Reads) bool {
	if at >= s.version() || s.serial || reads.All {
		return at != s.version()
	}
	for _, one := range reads.Rows {
		if s.put[[2]string{one.Table, one.Key}] != one.At {
			return true
		}
	}
	for _, one := range reads.Ranges {
		if s.gone[one.Table] > at {
			return true
		}
		for row, when := range s.put {
			if row[0] == one.Table && row[1] >= one.From && (one.To == "" || row[1] < one.To) && when > at {
				return true
			}
		}
	}
	return false
}

func (r *remote) Follow(ctx context.Context, after mirror.Version, report func(mirror.Version, []mirror.Change)) error {
	for {
		r.s.mu.Lock()
		if after < r.s.first || after > r.s.version() {
			r.s.mu.Unlock()
			return mirror.ErrLost
		}

		news, moved, broken := slices.Clone(r.s.log[after-r.s.first:]), r.s.moved, r.s.chance(20)
		r.s.mu.Unlock()
		for _, e := range news {
			after++
			report(after, e.changes)
		}

		if broken {
			return errors.New("the connection broke")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

func (r *remote) Get(ctx context.Context, at mirror.Version, table, key string) (value []byte, err error) {
	err = r.Scan(ctx, at, table, key, func(k string, v []byte) bool {
		if k == key {
			value = v
		}
		return false
	})
	return value, err
}

// Scan reads what is newest, less what came after the version.
func (r *remote) Scan(_ context.Context, at mirror.Version, table, from string, f func(string, []byte) bool) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if at != r.s.version() {
		return errors.New("that version is gone")
	}

	var keys []string
	for k := range r.s.rows {
		if k[0] == table && k[1] >= from {
			keys = append(keys, k[1])
		}
	}

	slices.Sort(keys)
	for _, key := range keys {
		if !f(key, r.s.rows[[2]string{table, key}]) {
			break
		}
	}

	return nil
}

func (r *remote) Fits(changes, sizeBytes int) bool { return changes <= 100 && sizeBytes <= 3<<20 }
func (r *remote) Narrow(reads int) bool            { return reads <= 40 }
func (r *remote) Close() error                     { return nil }
