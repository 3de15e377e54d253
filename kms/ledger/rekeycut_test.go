package ledger_test

import (
	"context"
	"errors"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

// A cut store takes so many updates, and then none: as a server that is
// killed.
type cut struct {
	store.Store
	left int
}

var errCut = errors.New("killed")

func (c *cut) Update(ctx context.Context, f func(store.Tx) error) error {
	if c.left == 0 {
		return errCut
	}
	c.left--
	return c.Store.Update(ctx, f)
}

// A server that is killed between any two steps leaves a whole database, which
// is served meanwhile, and goes on at its next start.
func TestRekeyIsCutOff(t *testing.T) {
	const rows = 9
	for steps := 0; ; steps++ {
		k := newKeyed(t)
		k.fill(k.open(), rows)

		c := k.config()
		broken := &cut{k.db, steps}
		c.Store = broken
		killed, err := ledger.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = killed.Rekey(t.Context())
		begun := err == nil
		if begun {
			_, err = killed.GoOn(t.Context())
		}
		if err == nil {
			if broken.left > 0 && steps < 5 {
				t.Errorf("a change of %d rows took %d steps", 4*rows, steps-broken.left)
			}
			return
		}
		if !errors.Is(err, errCut) {
			t.Fatal(err)
		}

		next := k.open()
		k.whole(next, rows)
		k.fill(next, rows) // the normal load
		for next.LookAtKeys(t.Context()) {
		}
		want := map[bool]uint32{true: 2, false: 1}[begun]
		if keys, err := next.DataKeys(); err != nil || len(keys) != 1 || keys[0].ID != want {
			t.Fatalf("after a cut at step %d: DataKeys = %+v, %v, want key %d alone", steps, keys, err, want)
		}
		k.whole(k.open(), rows)
	}
}

// While the data key changes, a copy of the database verifies, and a damaged
// one is salvaged; then the change goes on.
func TestRekeyBesideCopies(t *testing.T) {
	const rows = 9
	for steps := 1; steps < 5; steps++ {
		k := newKeyed(t)
		k.fill(k.open(), rows)
		c := k.config()
		c.Store = &cut{k.db, steps}
		killed, err := ledger.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := killed.Rekey(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := killed.GoOn(t.Context()); !errors.Is(err, errCut) {
			t.Fatalf("GoOn = %v, want it cut off at step %d", err, steps)
		}
		if _, err := killed.CheckCopy(k.db); err != nil {
			t.Errorf("step %d: CheckCopy = %v", steps, err)
		}

		err = k.db.Update(t.Context(), func(tx store.Tx) error { return tx.Put("b", []byte("x"), []byte("damage")) })
		if err != nil {
			t.Fatal(err)
		}
		s, err := ledger.Salvage(t.Context(), k.config())
		if err != nil || s.Kept < 3*rows || len(s.Dropped) != 1 {
			t.Errorf("step %d: Salvage = %+v, %v, want all but one row kept", steps, s, err)
		}
		k.done(k.open())
		k.whole(k.open(), rows)
	}
}

// A server that comes late, and would drop a key of a change before, drops
// none of the next change.
func TestLateServerDropsNoOtherKey(t *testing.T) {
	k := newKeyed(t)
	l := k.open()
	k.fill(l, 3)
	k.rekey(l)
	if _, _, err := l.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	ledger.DropKey(t, l, 2) // does not seal less yet
	ledger.UseKey(t, l)
	ledger.DropKey(t, l, 1)
	if keys, err := l.DataKeys(); err != nil || len(keys) != 2 {
		t.Fatalf("DataKeys = %+v, %v, want both", keys, err)
	}
	k.whole(l, 3)
	k.done(l)
	k.whole(k.open(), 3)
}
