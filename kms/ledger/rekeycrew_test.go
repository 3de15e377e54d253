package ledger_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

// Nobody is surprised: the new key seals once every server has it, and the old
// one goes once every server has written since. One that cannot have it now
// works on meanwhile.
func TestRekeyWaitsForEveryServer(t *testing.T) {
	c := newCrew(t)
	away := true
	one, two := c.joinBy(new(bool)), c.joinBy(&away)
	c.change(one, "one")
	c.change(two, "two")
	if _, _, err := one.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}

	goes := func(want string) {
		t.Helper()
		r, err := one.GoOn(t.Context())
		if err != nil || want == "" && r.From != 0 || !strings.Contains(r.Waiting, want) {
			t.Fatalf("GoOn = %+v, %v, want that it waits for %q", r, err, want)
		}
	}
	name := strings.TrimPrefix(c.headOf(1), "state/")
	goes("do not have the new data key yet: " + name)
	if err := two.GetKeys(t.Context()); !errors.Is(err, ledger.ErrNoDataKey) {
		t.Errorf("GetKeys while the wrapping key is away = %v, want %v", err, ledger.ErrNoDataKey)
	}
	c.change(two, "two, without the new key")
	c.check(two, "without the new key")
	goes("do not have the new data key yet: " + name)

	away = false
	if err := two.GetKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	goes("have not written since: " + name)
	c.change(two, "two, with the new key")
	goes("")
	c.change(two, "two, with the new key alone")
	c.change(one, "one")
	c.check(one, "after it")
	c.check(two, "after it")
	if n := ledger.SealedWith(t, two, 1); n != 0 {
		t.Errorf("%d records name the old key", n)
	}
}

// A server without the key that seals gives nothing out, and says what to do;
// one that starts has it.
func TestServerWithoutTheKey(t *testing.T) {
	c := newCrew(t)
	one := c.joinBy(new(bool))
	c.change(one, "one")
	late := c.join() // has not written yet: nobody knows of it
	if _, _, err := one.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := one.GoOn(t.Context()); err != nil || r.From != 0 {
		t.Fatalf("GoOn = %+v, %v, want it done", r, err)
	}
	err := late.Update(t.Context(), func(*ledger.Txn) error { return nil })
	if !errors.Is(err, ledger.ErrNoDataKey) || !strings.Contains(err.Error(), "start it again") {
		t.Errorf("Update without the key = %v, want %v", err, ledger.ErrNoDataKey)
	}
	if err := late.Read(func(v ledger.View) error { _, _, err := v.Get(tableA, []byte("one")); return err }); !errors.Is(err, ledger.ErrNoDataKey) {
		t.Errorf("Get without the key = %v, want %v", err, ledger.ErrNoDataKey)
	}
	c.change(c.open(1), "started again")
	c.check(one, "after it was started again")
}

// pictured is a change of the data key, update by update, and a server's guard
// that has heard of nothing since before it.
func pictured(t *testing.T, away *bool) (pictures []picture, guard func(store.Step) error) {
	f, guard := filmedRekey(t, away)
	return f.pictures, guard
}

func filmedRekey(t *testing.T, away *bool) (f *filmed, guard func(store.Step) error) {
	c := newCrew(t)
	c.change(c.joinBy(new(bool)), "one")
	ear := &overheard{Store: c.db}
	c.openOn(ear, 0, c.again(away))

	f = &filmed{Store: c.db, after: c.picture, pictures: []picture{c.picture()}}
	one := c.openOn(f, 0, c.again(new(bool)))
	err := one.Update(t.Context(), func(tx *ledger.Txn) error {
		return errors.Join(tx.Put(logged, []byte("k"), []byte("v")), tx.PutPassing(passing, []byte("k"), []byte("v")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := one.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := one.GoOn(t.Context()); err != nil || r.From != 0 {
		t.Fatalf("GoOn = %+v, %v, want it done", r, err)
	}
	c.change(one, "after")
	f.pictures = append(f.pictures, c.picture())
	if len(f.pictures) < 6 {
		t.Fatalf("it was done in %d updates", len(f.pictures)-1)
	}
	return f, ear.guard
}

// The head of when there was one server is carried on once, by a server that
// has one of its own: never in one write with that, which no guard takes.
func TestOldHeadMovesAlone(t *testing.T) {
	f, _ := filmedRekey(t, new(bool))
	moved := 0
	for i, alone := range f.alone {
		for _, row := range steps(f.pictures[i], f.pictures[i+1]) {
			if row.Table == "meta" && row.Key == "state" {
				moved++
				if !alone {
					t.Errorf("update %d moves the old head, and may share its write", i+1)
				}
			}
		}
	}
	if moved != 1 {
		t.Errorf("the old head moved %d times, want once", moved)
	}
}

// D34: who follows takes each step of a change, asks for the key if nothing
// told it before, and takes no step back: neither by rows nor as a whole.
func TestGuardFollowsDataKeys(t *testing.T) {
	pictures, guard := pictured(t, new(bool))
	for i := range len(pictures) - 1 {
		before, after := pictures[i], pictures[i+1]
		if err := guard(store.Step{Before: before, After: after, Rows: append(steps(before, after), store.Row{Table: "d", Key: "x"})}); err != nil {
			t.Errorf("picture %d after %d: %v", i+1, i, err)
		}
		if err := guard(store.Step{Before: before, After: after}); err != nil {
			t.Errorf("picture %d after %d, read anew: %v", i+1, i, err)
		}
		if len(steps(before, after)) == 0 {
			continue
		}
		if err := guard(store.Step{Before: after, After: before, Rows: steps(after, before)}); err == nil {
			t.Errorf("picture %d after %d was taken", i, i+1)
		}
		if err := guard(store.Step{Before: after, After: before}); err == nil {
			t.Errorf("picture %d after %d, read anew, was taken", i, i+1)
		}
	}
}

// A server that follows and cannot have the key that seals stops, and says
// why.
func TestGuardWithoutTheKey(t *testing.T) {
	away := true
	pictures, guard := pictured(t, &away)
	for i := range len(pictures) - 1 {
		err := guard(store.Step{Before: pictures[i], After: pictures[i+1], Rows: append(steps(pictures[i], pictures[i+1]), store.Row{Table: "d", Key: "x"})})
		if err == nil {
			continue
		}
		if !errors.Is(err, ledger.ErrNoDataKey) || !strings.Contains(err.Error(), "who keeps it is away") {
			t.Errorf("picture %d after %d: %v, want that the key is not here", i+1, i, err)
		}
		return
	}
	t.Error("the guard took all steps")
}

// A data key that was given up does not come back under its id, none takes
// another's id, and the one that seals does not change back: whatever else
// verifies.
func TestDataKeysGoOn(t *testing.T) {
	pictures, guard := pictured(t, new(bool))
	first, last := pictures[1], pictures[len(pictures)-1]
	forged := picture{}
	for table, rows := range first {
		forged[table] = rows
	}
	// All of an older state, at a later epoch: as who has the old key forges it.
	if err := guard(store.Step{Before: last, After: forged}); err == nil || !strings.Contains(err.Error(), "a data key was put back") {
		t.Errorf("the guard says %v, want that a data key was put back", err)
	}
}
