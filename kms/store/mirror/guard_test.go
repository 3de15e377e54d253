package mirror_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
	"latchkey/kms/store/storetest"
)

// The guard sees every step from the state before it to the one after it,
// once and in order, however many write and whoever's step it is.
func TestGuardSeesEachStep(t *testing.T) {
	for _, faults := range []bool{false, true} {
		s := newService()
		s.faults = faults
		table := storetest.Tables()[0]
		count := func(r store.Reader) uint64 {
			b := r.Get(table, []byte("n"))
			if b == nil {
				return 0
			}
			return binary.BigEndian.Uint64(b)
		}

		var dbs []store.Store
		for range 3 {
			db, err := open(s)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			dbs = append(dbs, db)
			db.(store.Watched).Guard(func(step store.Step) error {
				before, after := count(step.Before), count(step.After)
				if wrote := len(step.Rows) > 0; after < before || wrote && after <= before || !wrote && step.Rows != nil && after != before {
					return fmt.Errorf("a step of %d rows leads from %d to %d", len(step.Rows), before, after)
				}
				return nil
			})
		}

		var group sync.WaitGroup
		for _, db := range dbs {
			for range 4 {
				group.Go(func() {
					for range 50 {
						err := db.Update(ctx, func(tx store.Tx) error {
							for i := range byte(80) { // so that following takes a while
								if err := tx.Put(table, []byte{'x', i}, []byte{i}); err != nil {
									return err
								}
							}
							return tx.Put(table, []byte("n"), binary.BigEndian.AppendUint64(nil, count(tx)+1))
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		group.Wait()
		for _, db := range dbs {
			if err := db.View(func(r store.Reader) error {
				if n := count(r); n != 600 {
					t.Errorf("%d steps, want 600", n)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
	}
}

// After the guard has refused a step, nothing is read and nothing written.
func TestGuardRefusesForGood(t *testing.T) {
	s := newService()
	good, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	other, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	refused := errors.New("refused")
	good.(store.Watched).Guard(func(store.Step) error { return refused })
	table := storetest.Tables()[0]
	put := func(tx store.Tx) error { return tx.Put(table, []byte("k"), []byte("v")) }
	if err := other.Update(ctx, put); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		err := good.View(func(r store.Reader) error {
			if r.Get(table, []byte("k")) != nil {
				t.Error("what was refused is read")
			}
			return nil
		})
		if errors.Is(err, refused) {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatal("the store goes on after the guard refused")
		}
	}
	if err := good.Update(ctx, put); !errors.Is(err, refused) {
		t.Errorf("Update = %v, want refused", err)
	}
}

// A step that the guard cannot judge, since the service does not answer, is
// judged again, and the next one not before it.
func TestGuardThatCannotRead(t *testing.T) {
	for _, times := range []int{1, 2, 10} {
		synctest.Test(t, func(t *testing.T) {
			s := newService()
			log, table := storetest.Log, storetest.A
			follower := &blindRemote{remote: remote{s}}
			db, err := mirror.Open(ctx, follower, mirror.Config{Tables: storetest.Tables(), Logs: []string{log}, Wait: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			last := 0 // that was judged
			db.Guard(func(step store.Step) error {
				step.Before.Get(log, []byte("any"))
				n := 0
				if b := step.After.Get(table, []byte("n")); b != nil {
					n = int(b[0])
				}
				if step.Rows != nil && n != last+1 {
					return fmt.Errorf("the step to %d was judged after that to %d", n, last)
				}
				last = n
				return nil
			})
			other, err := open(s, log)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()

			follower.blind = times
			for n := range byte(5) {
				if err := other.Update(ctx, func(tx store.Tx) error { return tx.Put(table, []byte("n"), []byte{n + 1}) }); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err := db.View(func(r store.Reader) error {
				if b := r.Get(table, []byte("n")); len(b) != 1 || b[0] != 5 {
					t.Errorf("n = %v, want 5", b)
				}
				return nil
			}); err != nil {
				t.Errorf("after %d reads that failed: %v", times, err)
			}
		})
	}
}

// A step that can never be judged by its rows, since the service has forgotten
// what was before, is judged as a state that was read anew.
func TestGuardThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		follower := &blindRemote{remote: remote{s}, blind: 1 << 30}
		db, err := mirror.Open(ctx, follower, mirror.Config{Tables: storetest.Tables(), Logs: []string{storetest.Log}, Wait: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		anew := 0
		db.Guard(func(step store.Step) error {
			if step.Rows == nil {
				anew++
				return nil
			}
			step.Before.Get(storetest.Log, []byte("any"))
			return errors.New("judged without what was read")
		})
		other, err := open(s, storetest.Log)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := put(other, "k"); err != nil {
			t.Fatal(err)
		}
		err = db.View(func(r store.Reader) error {
			if r.Get(storetest.A, []byte("k")) == nil {
				t.Error("the row is not there")
			}
			return nil
		})
		if err != nil || anew != 1 {
			t.Errorf("View = %v, and %d states were judged as a whole, want 1", err, anew)
		}
	})
}

// A blindRemote does not answer some reads.
type blindRemote struct {
	remote
	blind int
}

func (r *blindRemote) Get(ctx context.Context, at mirror.Version, table, key string) ([]byte, error) {
	if r.blind > 0 {
		r.blind--
		return nil, errors.New("no answer")
	}
	return nil, nil
}
