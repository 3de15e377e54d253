package ledger_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

// Each server carries its own head and chain on; together they are the
// state.
func TestEachServerHasItsOwnHead(t *testing.T) {
	c := newCrew(t)
	one, two := c.join(), c.join()
	for i := range 3 {
		c.change(one, fmt.Sprint("one", i))
		c.change(two, fmt.Sprint("two", i))
	}
	if n := c.heads(); n != 2 {
		t.Errorf("two servers have %d heads", n)
	}
	if found := c.check(one, "after changes of both"); found.Events != 6 || found.Epoch != 7 {
		t.Errorf("Check = %+v, want 6 events and epoch 7", found)
	}
	var seqs []uint64
	servers := map[string]int{}
	one.Read(func(v ledger.View) error {
		return v.Events(0, func(e ledger.Event) bool { seqs = append(seqs, e.Seq); servers[e.Server]++; return true })
	})
	if !slices.IsSorted(seqs) || len(servers) != 2 {
		t.Errorf("the log has the numbers %v of the servers %v", seqs, servers)
	}
}

// What any server did is missing when its part is put back, or its head is
// removed: by every server's mark, also that of one that did nothing.
func TestEveryServersPartIsMarked(t *testing.T) {
	for _, row := range []struct {
		name  string
		after func(c *crew, meta, a, audit map[string][]byte)
	}{
		{"its head and its rows put back", func(c *crew, meta, a, audit map[string][]byte) {
			c.putBack("meta", meta)
			c.putBack("a", a)
			c.putBack("audit", audit)
		}},
		{"its rows put back", func(c *crew, _, a, _ map[string][]byte) { c.putBack("a", a) }},
		{"its events removed", func(c *crew, _, _, audit map[string][]byte) { c.putBack("audit", audit) }},
		{"its head removed", func(c *crew, meta, _, _ map[string][]byte) {
			_, now := c.rows("meta")
			for key := range now {
				if strings.HasPrefix(key, "state/") && key != c.headOf(0) {
					c.put("meta", map[string][]byte{key: nil})
				}
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCrew(t)
			one, two := c.join(), c.join()
			c.change(one, "one")
			c.change(two, "two")
			_, meta := c.rows("meta")
			_, a := c.rows("a")
			_, audit := c.rows("audit")
			c.change(two, "two") // of the same row: nobody else's part is touched
			c.change(two, "new")
			c.change(one, "one") // the other goes on meanwhile
			if err := one.MarkNow(); err != nil {
				t.Fatal(err)
			}

			_, now := c.rows("meta")
			for key := range now { // the head of one stays
				if key == c.headOf(0) {
					meta[key] = now[key]
				}
			}
			_, rows := c.rows("a")
			a["one"] = rows["one"]
			_, events := c.rows("audit")
			for key, value := range events {
				if strings.Contains(string(value), `"event":"one"`) {
					audit[key] = value
				}
			}
			row.after(c, meta, a, audit)
			if _, err := c.open(0).Check(); !errors.Is(err, ledger.ErrRolledBack) && !errors.Is(err, ledger.ErrUnverified) {
				t.Errorf("Check by the mark of the other server = %v, want it refused", err)
			}
		})
	}
}

// A server that is gone leaves its head to the others, and no more than the
// line where it ended; one that was only away goes on there.
func TestHeadsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		one, two := c.join(), c.join()
		c.change(one, "one")
		c.change(two, "two")
		if err := one.MarkNow(); err != nil {
			t.Fatal(err)
		}
		before, _ := c.marks[0].Read()

		time.Sleep(9 * time.Minute)
		c.change(one, "one")
		c.endIdle(one)
		if n := c.heads(); n != 2 {
			t.Fatalf("a server that wrote nine minutes ago was taken for gone: %d heads", n)
		}
		time.Sleep(2 * time.Minute)
		ear := &overheard{Store: c.db}
		if _, err := ledger.Open(ledger.Config{Store: ear, Shared: true, Wrapping: c.wrapping, Mark: c.marks[0], Tables: tables}); err != nil {
			t.Fatal(err)
		}
		was := c.picture()
		c.endIdle(one)
		if err := ear.guard(store.Step{Before: was, After: c.picture(), Rows: steps(was, c.picture())}); err != nil {
			t.Errorf("the guard says of the end: %v", err)
		}
		ended, _ := c.rows("ended")
		if n := c.heads(); n != 1 || len(ended) != 1 {
			t.Fatalf("after eleven minutes there are %d heads, and %d that ended; want 1 and 1", n, len(ended))
		}
		c.check(one, "after the end")
		if err := c.marks[0].Write(before); err != nil { // that of a server that was away, too
			t.Fatal(err)
		}
		c.check(c.open(0), "by a mark that knows the one that ended")

		was = c.picture()
		c.change(two, "back")
		if err := ear.guard(store.Step{Before: was, After: c.picture(), Rows: steps(was, c.picture())}); err != nil {
			t.Errorf("the guard says of the one that came back: %v", err)
		}
		if n := c.heads(); n != 2 {
			t.Errorf("a server that came back has %d heads beside it", n)
		}
		if ended, _ := c.rows("ended"); len(ended) != 0 {
			t.Errorf("a server that came back is still among those that ended: %x", ended)
		}
		c.check(two, "after it came back")
	})
}

// What an ended server did is still marked.
func TestEndedHeadIsMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t)
		one, two := c.join(), c.join()
		c.change(one, "one")
		c.change(two, "two")
		_, meta := c.rows("meta")
		_, a := c.rows("a")
		_, audit := c.rows("audit")
		c.change(two, "two")
		time.Sleep(11 * time.Minute)
		c.endIdle(one)
		if err := one.MarkNow(); err != nil {
			t.Fatal(err)
		}
		ended, _ := c.rows("ended")
		c.putBack("meta", meta)
		c.putBack("a", a)
		c.putBack("audit", audit)
		c.put("ended", map[string][]byte{ended[0]: nil})
		if _, err := c.open(0).Check(); !errors.Is(err, ledger.ErrRolledBack) {
			t.Errorf("Check of the whole store from before the end = %v, want %v", err, ledger.ErrRolledBack)
		}
	})
}

// A store that became one server's own has one head.
func TestOneServerTakesAll(t *testing.T) {
	c := newCrew(t)
	for i := range 20 {
		c.change(c.join(), fmt.Sprint(i))
	}
	mark := ledger.MarkFile(filepath.Join(t.TempDir(), "epoch"))
	if err := mark.Write(ledger.Position{}); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Store: c.db, Wrapping: c.wrapping, Mark: mark, Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	c.endIdle(l)
	c.endIdle(l)
	if n := c.heads(); n != 0 {
		t.Errorf("%d heads of others are left", n)
	}
	if found := c.check(l, "after all ended"); found.Events != 40 {
		t.Errorf("%d events, want 20, and 20 that say who ended", found.Events)
	}
}
