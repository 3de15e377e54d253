package mirror_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/store"
	"latchkey/kms/store/mirror"
	"latchkey/kms/store/storetest"
)

// A server that nobody else writes beside holds to all that there is, which
// is one comparison; one that saw another write holds to what it read, and
// so the other's next write is not in its way.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		config := mirror.Config{Tables: storetest.Tables(), Wait: 10 * time.Second}
		one, err := mirror.Open(ctx, &remote{s}, config)
		if err != nil {
			t.Fatal(err)
		}
		defer one.Close()
		two, err := mirror.Open(ctx, &remote{s}, config)
		if err != nil {
			t.Fatal(err)
		}
		defer two.Close()

		// runs is how often an update of one's runs while two writes another row.
		runs := func() (n int) {
			err := one.Update(ctx, func(tx store.Tx) error {
				if n++; n == 1 {
					if err := put(two, "two"); err != nil {
						return err
					}
				}
				tx.Get(storetest.A, []byte("one"))
				return tx.Put(storetest.A, []byte("one"), []byte{byte(n)})
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := runs(); n != 2 {
			t.Errorf("an update of a server that takes itself for the only one ran %d times, want twice", n)
		}
		if n := runs(); n != 1 {
			t.Errorf("an update of a server that saw another write ran %d times, want once", n)
		}
		time.Sleep(1100 * time.Millisecond)
		if n := runs(); n != 2 {
			t.Errorf("an update after a second without another ran %d times, want twice", n)
		}
	})
}

// Its own write, followed before it is answered, is nobody else's.
func TestOwnEchoIsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		one, err := mirror.Open(ctx, &slowRemote{remote{s}}, mirror.Config{Tables: storetest.Tables(), Wait: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer one.Close()
		if err := put(one, "first"); err != nil {
			t.Fatal(err)
		}
		two, err := mirror.Open(ctx, &remote{s}, mirror.Config{Tables: storetest.Tables(), Wait: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer two.Close()
		runs := 0
		err = one.Update(ctx, func(tx store.Tx) error {
			if runs++; runs == 1 {
				if err := put(two, "two"); err != nil {
					return err
				}
			}
			return tx.Put(storetest.A, []byte("one"), []byte{1})
		})
		if err != nil || runs != 2 {
			t.Errorf("after its own write an update ran %d times, %v; want twice: it takes itself for the only one", runs, err)
		}
	})
}

// A slowRemote answers a write when all have followed it.
type slowRemote struct{ remote }

func (r *slowRemote) Commit(ctx context.Context, at mirror.Version, reads mirror.Reads, changes []mirror.Change) (mirror.Written, error) {
	done, err := r.remote.Commit(ctx, at, reads, changes)
	time.Sleep(time.Millisecond)
	return done, err
}

// An update that is to share its write with no other one does not, whatever
// waits beside it.
func TestSharesWithNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		db, err := mirror.Open(ctx, &slowRemote{remote{s}}, mirror.Config{Tables: storetest.Tables(), Wait: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var group sync.WaitGroup
		for i := range byte(12) {
			ctx := ctx
			if i%4 == 2 {
				ctx = store.Alone(ctx)
			}
			group.Go(func() {
				if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.A, []byte{i}, []byte{1}) }); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // in this order, while the first is being written
		}
		group.Wait()
		var writes []string
		for _, e := range s.log {
			var keys []byte
			for _, c := range e.changes {
				keys = append(keys, c.Key[0])
			}
			slices.Sort(keys)
			writes = append(writes, fmt.Sprint(keys))
		}
		want := "[[0] [1] [2] [3 4 5] [6] [7 8 9] [10] [11]]"
		if got := fmt.Sprint(writes); got != want {
			t.Errorf("the writes are %v, want %v", got, want)
		}
	})
}

func put(db store.Store, key string) error {
	return db.Update(ctx, func(tx store.Tx) error { return tx.Put(storetest.A, []byte(key), []byte{1}) })
}
