package mirror_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/mirror"
	"latchkey/kms/store/storetest"
)

var ctx = context.Background()

// A service is what several remotes share, in memory, with faults: history
// that is gone, answers that are late or lost.
type service struct {
	mu      sync.Mutex
	rows    map[[2]string][]byte
	log     []entry // log[0] moved the service to version first+1
	first   mirror.Version
	moved   chan struct{}
	random  *rand.Rand
	faults  bool
	damaged bool
}

type entry struct{ changes []mirror.Change }

func newService() *service {
	return &service{rows: map[[2]string][]byte{}, first: 1, moved: make(chan struct{}), random: rand.New(rand.NewPCG(7, 8))}
}

func (s *service) version() mirror.Version { return s.first + mirror.Version(len(s.log)) }

// chance is true once in n times, if there are faults.
func (s *service) chance(n int) bool { return s.faults && s.random.IntN(n) == 0 }

func (s *service) apply(changes []mirror.Change) {
	for _, c := range changes {
		if at := [2]string{c.Table, c.Key}; c.Value == nil {
			delete(s.rows, at)
		} else {
			s.rows[at] = c.Value
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
			all = append(all, mirror.Change{Table: at[0], Key: at[1], Value: value})
		}
	}
	return r.s.version(), all, nil
}

func (r *remote) Head(context.Context) (mirror.Version, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.version(), nil
}

func (r *remote) Commit(_ context.Context, at mirror.Version, changes []mirror.Change) (mirror.Version, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.chance(8) { // a fence of one whose answer was lost
		r.s.apply(nil)
	}
	if at != r.s.version() {
		return r.s.version(), mirror.ErrConflict
	}
	r.s.apply(changes)
	if r.s.chance(8) { // followed by another before the answer
		r.s.apply(nil)
		return 0, nil
	}
	return at + 1, nil
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
func (r *remote) Close() error                     { return nil }

func open(s *service, logs ...string) (store.Store, error) {
	return mirror.Open(ctx, &remote{s}, mirror.Config{Tables: storetest.Tables(), Logs: logs, Wait: 10 * time.Second})
}

// The suite, on a service that loses history and answers, and whose
// connections break.
func TestStoreWithFaults(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Place {
		s := newService()
		s.faults = true
		return placeOf(t, s)
	})
}

func placeOf(t testing.TB, s *service) storetest.Place {
	return storetest.Place{
		Shared: true, Large: 1 << 20,
		Open:   func() (store.Store, error) { return open(s) },
		Damage: func(testing.TB) { s.damaged = true },
		Accept: func(backup []byte) (storetest.Place, error) {
			path := filepath.Join(t.TempDir(), "backup")
			if err := os.WriteFile(path, backup, 0o600); err != nil {
				return storetest.Place{}, err
			}

			from, err := bolt.Open(path, false, storetest.Tables())
			if err != nil {
				return storetest.Place{}, err
			}
			defer from.Close()
			to := placeOf(t, newService())
			db, err := to.Open()
			if err != nil {
				return to, err
			}
			defer db.Close()
			return to, store.Copy(ctx, from, db, storetest.Tables())
		},
	}
}

// An update that is too large is refused alone; those beside it are not.
func TestTooLarge(t *testing.T) {
	db, err := open(newService())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var group sync.WaitGroup

	for i := range 20 {
		group.Go(func() {
			rows := 30
			if i%5 == 0 {
				rows = 101
			}

			err := db.Update(ctx, func(tx store.Tx) error {
				for r := range rows {
					if err := tx.Put(storetest.A, []byte{byte(i), byte(r)}, []byte{1}); err != nil {
						return err
					}
				}
				return nil
			})
			if errors.Is(err, store.ErrTooLarge) != (rows > 100) || err != nil && rows <= 100 {
				t.Errorf("an update of %d rows = %v", rows, err)
			}
		})
	}

	group.Wait()
}

// A service that went back to an older state is noticed.
func TestWentBack(t *testing.T) {
	s := newService()
	db, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put := func() error {
		return db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.A, []byte("k"), []byte{1}) })
	}
	if err := errors.Join(put(), put()); err != nil {
		t.Fatal(err)
	}

	s.mu.Lock()
	s.log = s.log[:1]
	s.mu.Unlock()
	if err := put(); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Update = %v, want %v", err, store.ErrDamaged)
	}

	if err := db.View(func(store.Reader) error { return nil }); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("View = %v, want %v", err, store.ErrDamaged)
	}
}
