package ledger_test

import (
	"maps"
	"slices"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

// overheard is a store whose guard a test asks itself.
type overheard struct {
	store.Store
	guard func(store.Step) error
}

func (o *overheard) Guard(f func(store.Step) error) { o.guard = f }

// A picture is all rows of one moment.
type picture map[string]map[string][]byte

func (p picture) Get(table string, key []byte) []byte { return p[table][string(key)] }

func (p picture) Scan(table string, from []byte, f func(key, value []byte) bool) {
	for _, key := range slices.Sorted(maps.Keys(p[table])) {
		if key >= string(from) && !f([]byte(key), p[table][key]) {
			return
		}
	}
}

func (c *crew) picture() picture {
	p := picture{}
	for _, table := range ledger.Names(tables) {
		_, p[table] = c.rows(table)
	}
	return p
}

// steps are the rows in which two pictures differ.
func steps(before, after picture) (rows []store.Row) {
	for table, now := range after {
		for key, value := range now {
			if string(before[table][key]) != string(value) {
				rows = append(rows, store.Row{Table: table, Key: key, Value: value})
			}
		}
		for key := range before[table] {
			if _, there := now[key]; !there {
				rows = append(rows, store.Row{Table: table, Key: key})
			}
		}
	}
	return rows
}

// D12: a step is one server's transaction, whole, or it is refused.
func TestGuardFollowsHeads(t *testing.T) {
	c := newCrew(t)
	one, two, silent := c.join(), c.join(), c.join()
	c.change(one, "one")
	c.change(two, "two")
	err := silent.Update(t.Context(), func(tx *ledger.Txn) error { return tx.Note(ledger.Event{Event: "silent"}) })
	if err != nil {
		t.Fatal(err)
	}
	if err := silent.MarkNow(); err != nil {
		t.Fatal(err)
	}
	ear := &overheard{Store: c.db}
	if _, err := ledger.Open(ledger.Config{Store: ear, Shared: true, Wrapping: c.wrapping, Mark: c.marks[1], Tables: tables}); err != nil {
		t.Fatal(err)
	}

	first := c.picture()
	c.change(one, "one")
	second := c.picture()
	c.change(one, "more")
	third := c.picture()
	good := steps(first, second)
	head := store.Row{Table: "meta", Key: c.headOf(0)}
	without := func(rows []store.Row, table string) []store.Row {
		return slices.DeleteFunc(slices.Clone(rows), func(r store.Row) bool { return r.Table == table })
	}
	for _, row := range []struct {
		name   string
		before picture
		rows   []store.Row
		taken  bool
	}{
		{"a change", first, good, true},
		{"two that came as one", first, steps(first, third), true},
		{"only what lives for minutes", first, []store.Row{{Table: "d", Key: "k", Value: []byte{1}}}, true},
		{"nothing", first, nil, true},
		{"a change again", second, good, false},
		{"a later one without the one before", first, steps(second, third), false},
		{"a change, back", second, steps(second, first), false},
		{"without its head", first, without(good, "meta"), false},
		{"without its row", first, without(good, "a"), false},
		{"without its event", first, without(good, "audit"), false},
		{"with another row", first, append(slices.Clone(good), store.Row{Table: "a", Key: "two", Value: first["a"]["one"]}), false},
		{"with another event", first, append(slices.Clone(good), store.Row{Table: "audit", Key: "\xff1234567", Value: make([]byte, 40)}), false},
		{"a head removed", first, []store.Row{head}, false},
		{"a head removed that counts no rows", first, []store.Row{{Table: "meta", Key: c.headOf(2)}}, false},
		{"a head removed beside a change", first, append(slices.Clone(good), store.Row{Table: "meta", Key: c.headOf(2)}), false},
		{"two heads at once", first, append(slices.Clone(good), store.Row{Table: "meta", Key: c.headOf(1), Value: first["meta"][c.headOf(1)]}), false},
		{"another format", first, append(slices.Clone(good), store.Row{Table: "meta", Key: "format", Value: []byte("{}")}), false},
	} {
		step := store.Step{Before: row.before, After: row.before, Rows: row.rows}
		if row.rows == nil {
			step.Rows = []store.Row{}
		}
		if err := ear.guard(step); (err == nil) != row.taken {
			t.Errorf("%s: the guard says %v, want it taken: %t", row.name, err, row.taken)
		}
	}
	for _, row := range []struct {
		name          string
		before, after picture
		taken         bool
	}{
		{"read anew, later", first, third, true},
		{"read anew, the same", second, second, true},
		{"read anew, older", third, first, false},
	} {
		if err := ear.guard(store.Step{Before: row.before, After: row.after}); (err == nil) != row.taken {
			t.Errorf("%s: the guard says %v, want it taken: %t", row.name, err, row.taken)
		}
	}
}
