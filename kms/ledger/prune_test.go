package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

func (p *past) prune(keep ledger.Keep, want int) {
	p.t.Helper()
	gone, err := p.Prune(p.t.Context(), keep)
	if err != nil || len(gone) != want {
		p.t.Fatalf("Prune(%+v) = %d segments, %v, want %d", keep, len(gone), err, want)
	}
}

func (p *past) rowsOf(table string) map[string][]byte {
	rows := map[string][]byte{}
	p.db.View(func(r store.Reader) error {
		r.Scan(table, nil, func(key, value []byte) bool { rows[string(key)] = slices.Clone(value); return true })
		return nil
	})
	return rows
}

// History ends: events go when they are old or too many, whole segments and
// the oldest first, and what was removed still counts, by its checkpoint.
func TestPrune(t *testing.T) {
	p := newPast(t)
	p.note(35)
	segments := p.seal(time.Hour, 3)
	p.prune(ledger.Keep{}, 0)
	p.prune(ledger.Keep{For: time.Hour, Bytes: 1 << 30}, 0)
	p.prune(ledger.Keep{Bytes: segments[1].Bytes + segments[2].Bytes}, 1)
	if first, last, n := p.seen(); first != 11 || last != 36 || n != 26 {
		t.Errorf("events %d to %d are left, %d; want 11 to 36, which tells of the removal", first, last, n)
	}
	p.sound("the first segment removed", 36)
	if all := p.segments(); len(all) != 3 || !all[0].Removed || all[1].Removed {
		t.Errorf("segments %+v, want three, of which the first is removed", all)
	}

	// What no checkpoint covers stays, however old or large it is.
	p.prune(ledger.Keep{For: 1, Bytes: 1}, 2)
	if first, _, n := p.seen(); first != 31 || n != 8 {
		t.Errorf("%d events from %d on are left, want 8 from 31 on", n, first)
	}
	p.sound("all segments removed", 38)
	p.note(5)
	p.seal(0, 2)
	p.reopen()
	p.sound("sealed after the removal", 43)
	if _, err := p.Prove(3, ""); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("Prove of a removed event = %v, want %v", err, ledger.ErrNotFound)
	}
	if err := p.Segment("", 1, func([]byte) error { return nil }); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("Segment that was removed = %v, want %v", err, ledger.ErrNotFound)
	}
	if rows := p.rowsOf("audit"); len(rows) != 13 {
		t.Errorf("%d events are in the store, want 13", len(rows))
	}
}

// A clock that was set ends no history.
func TestClockEndsNoHistory(t *testing.T) {
	p := newPast(t)
	p.note(10)
	p.seal(0, 1)
	p.Step(1000 * 24 * time.Hour)
	p.prune(ledger.Keep{For: 400 * 24 * time.Hour}, 0)
	p.Step(-1000 * 24 * time.Hour)
	p.Step(30 * time.Minute) // a little is believed
	p.prune(ledger.Keep{For: 20 * time.Minute}, 1)
}

// A removal that was cut off, or whose events somebody puts back: nobody is
// shown them, and they go with the next one.
func TestRemovedEventsPutBack(t *testing.T) {
	p := newPast(t)
	p.note(20)
	p.seal(0, 2)
	before := p.rowsOf("audit")
	p.prune(ledger.Keep{For: 1}, 2)
	put := func() {
		err := p.db.Update(t.Context(), func(tx store.Tx) error {
			for _, key := range slices.Sorted(maps.Keys(before))[5:15] {
				if err := tx.Put("audit", []byte(key), before[key]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put()
	p.reopen()
	if first, _, n := p.seen(); first != 21 || n != 2 {
		t.Errorf("%d events from %d on are shown, want 2 from 21 on", n, first)
	}
	p.sound("with events put back", 22)
	p.prune(ledger.Keep{}, 0)
	if rows := p.rowsOf("audit"); len(rows) != 2 {
		t.Errorf("%d events are in the store, want 2", len(rows))
	}
}

// Each server that shares a store has segments of its own, and those of one
// that is gone are sealed by another.
func TestSegmentsOfSeveralServers(t *testing.T) {
	c := newCrew(t)
	one, two := c.join(), c.join()
	for range 4 {
		c.change(one, "one")
		c.change(two, "two")
	}
	sealed := func(l *ledger.Ledger, want int) {
		t.Helper()
		if got, err := l.SealDue(t.Context(), 0); err != nil || len(got) != want {
			t.Fatalf("SealDue = %d segments, %v, want %d", len(got), err, want)
		}
	}
	sealed(one, 1)
	sealed(one, 0)
	c.change(two, "two")
	sealed(two, 1)
	c.check(one, "sealed by both")
	if _, err := two.Prune(t.Context(), ledger.Keep{For: 1}); err != nil {
		t.Fatal(err)
	}
	c.change(one, "one")
	if got := c.check(one, "removed"); got.Events != 12 {
		t.Errorf("%d events, want 12: ten, and two that tell of the removal", got.Events)
	}
	for _, l := range []*ledger.Ledger{one, two} {
		if err := l.VerifySealed(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// D12, E5: a server that follows believes a removal of events only if they
// are sealed, and the store says that they are removed.
func TestGuardFollowsRemoval(t *testing.T) {
	c := newCrew(t)
	one, two := c.join(), c.join()
	for range 4 {
		c.change(one, "one")
	}
	c.change(two, "two")
	ear := &overheard{Store: c.db}
	if _, err := ledger.Open(ledger.Config{Store: ear, Shared: true, Wrapping: c.wrapping, Mark: c.marks[1], Tables: tables}); err != nil {
		t.Fatal(err)
	}
	guard := func(name string, before, after picture, taken bool) {
		t.Helper()
		if err := ear.guard(store.Step{Before: before, After: after, Rows: steps(before, after)}); (err == nil) != taken {
			t.Errorf("%s: the guard says %v, want it taken: %t", name, err, taken)
		}
	}
	first := c.picture()
	if _, err := one.SealDue(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	second := c.picture()
	guard("a segment", first, second, true)

	c.change(one, "more")
	third := c.picture()
	stolen := picture{}
	for table, rows := range third {
		stolen[table] = maps.Clone(rows)
	}
	delete(stolen["audit"], slices.Sorted(maps.Keys(first["audit"]))[0])
	guard("a change", second, third, true)
	guard("a change that removes an event", second, stolen, false)

	film := &filmed{Store: c.db, after: c.picture}
	one, err := ledger.Open(ledger.Config{Store: film, Shared: true, Wrapping: c.wrapping, Mark: c.marks[0], Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Prune(t.Context(), ledger.Keep{For: 1}); err != nil {
		t.Fatal(err)
	}
	before := third
	for i, after := range film.pictures {
		guard(fmt.Sprintf("step %d of the removal", i), before, after, true)
		before = after
	}
	if len(film.pictures) < 2 {
		t.Errorf("the removal took %d steps, want two at least: what is said, and what is done", len(film.pictures))
	}
	if last := c.picture(); len(last["audit"]) >= len(third["audit"]) {
		t.Errorf("%d events are left of %d", len(last["audit"]), len(third["audit"]))
	} else if err := ear.guard(store.Step{Before: second, After: last}); err != nil {
		t.Errorf("read anew after the removal: %v", err)
	}
}

// filmed is a store of which a picture is taken after each update.
type filmed struct {
	store.Store
	after    func() picture
	pictures []picture
	alone    []bool // which updates shared their write with no other one
}

func (f *filmed) Update(ctx context.Context, do func(store.Tx) error) error {
	err := f.Store.Update(ctx, do)
	f.pictures = append(f.pictures, f.after())
	f.alone = append(f.alone, store.IsAlone(ctx))
	return err
}

// A damaged database whose history has ended is made whole again: its log
// begins where it began.
func TestSalvageAfterRemoval(t *testing.T) {
	p := newPast(t)
	p.note(30)
	p.seal(0, 3)
	p.prune(ledger.Keep{Bytes: p.segments()[2].Bytes}, 2)
	rows := p.rowsOf("audit")
	edited := slices.Sorted(maps.Keys(rows))[3]
	rows[edited][40] ^= 1
	if err := p.db.Update(t.Context(), func(tx store.Tx) error { return tx.Put("audit", []byte(edited), rows[edited]) }); err != nil {
		t.Fatal(err)
	}
	got, err := ledger.Salvage(t.Context(), p.cfg)
	if err != nil || len(got.Altered) == 0 || len(got.Dropped) != 0 || got.Events != 33 {
		t.Fatalf("Salvage = %+v, %v, want 33 events, of which some were altered", got, err)
	}
	p.reopen()
	p.sound("salvaged", 33)
	p.seal(0, 2)
	p.sound("sealed again", 33)
	if first, _, _ := p.seen(); first != 21 {
		t.Errorf("the log begins at event %d, want 21", first)
	}
	if _, err := p.Prove(25, ""); err != nil {
		t.Error(err)
	}
}
