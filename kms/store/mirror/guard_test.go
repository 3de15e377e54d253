package mirror_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"latchkey/kms/store"
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
