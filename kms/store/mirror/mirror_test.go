package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/mirror"
	"latchkey/kms/store/storetest"
)

var ctx = context.Background()

func open(s *service, logs ...string) (store.Store, error) {
	return mirror.Open(ctx, &remote{s}, mirror.Config{Tables: storetest.Tables(), Logs: logs, Wait: 10 * time.Second})
}

// The suite, on a service that loses history and answers, and whose
// connections break.
func TestStoreWithFaults(t *testing.T) {
	for _, serial := range []bool{false, true} {
		t.Run(fmt.Sprintf("serial %v", serial), func(t *testing.T) {
			storetest.Run(t, func(t testing.TB) storetest.Place {
				s := newService()
				s.faults, s.serial = true, serial
				return placeOf(t, s)
			})
		})
	}
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
