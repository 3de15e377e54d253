package ledger_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"latchkey/kms/ledger"
)

func onlyKey(t *testing.T, l *ledger.Ledger) ledger.DataKey {
	t.Helper()
	keys, err := l.DataKeys()
	if err != nil || len(keys) != 1 {
		t.Fatalf("DataKeys = %+v, %v, want one", keys, err)
	}
	return keys[0]
}

// limited is a server with another limit; alone, it cannot ask for the
// wrapping key.
func (k *keyed) limited(limit uint64, alone bool) (*ledger.Ledger, *bytes.Buffer) {
	k.t.Helper()
	var log bytes.Buffer
	c := k.config()
	c.SealLimit, c.Log = limit, slog.New(slog.NewTextHandler(&log, nil))
	if alone {
		c.Again = nil
	}
	l, err := ledger.Open(c)
	if err != nil {
		k.t.Fatal(err)
	}
	return l, &log
}

// Each server counts its seals in its head, over restarts, and what they
// counted together is the key's.
func TestSealsAreCounted(t *testing.T) {
	c := newCrew(t)
	seals := func(l *ledger.Ledger) uint64 { return onlyKey(t, l).Seals }
	one, two := c.joinBy(new(bool)), c.joinBy(new(bool))
	first := seals(one)
	for range 5 {
		c.change(one, "one") // a row and the head
	}
	if got := seals(two) - first; got != 10 {
		t.Errorf("5 changes of one server are %d seals, want 10", got)
	}
	for range 3 {
		c.change(two, "two")
	}
	if got := seals(one) - first; got != 16 {
		t.Errorf("5 and 3 changes of two servers are %d seals, want 16", got)
	}
	again := c.open(0)
	c.change(again, "one")
	if got := seals(two) - first; got != 18 {
		t.Errorf("a change after a restart makes %d seals, want 18", got)
	}
	failed := errors.New("no")
	for range 4 {
		if err := again.Update(t.Context(), func(tx *ledger.Txn) error { return errors.Join(tx.Put(tableA, []byte("x"), nil), failed) }); !errors.Is(err, failed) {
			t.Fatal(err)
		}
	}
	c.change(again, "one")
	if got := seals(two) - first; got != 24 {
		t.Errorf("4 changes in vain and one make %d seals, want 24: what was sealed in vain is sealed", got)
	}
}

// A key that has sealed half of what it may is spoken of, after three quarters
// it is changed, and one that cannot be changed seals no more than it may.
func TestSealsHaveALimit(t *testing.T) {
	k := newKeyed(t)
	l := k.open()
	k.fill(l, 10)
	made := onlyKey(t, l).Seals
	key := func(l *ledger.Ledger) uint32 { return onlyKey(t, l).ID }
	touch := func(l *ledger.Ledger) error { return l.Update(t.Context(), func(*ledger.Txn) error { return nil }) }
	limited := k.limited
	free, log := limited(3*made, false)
	if touch(free); free.LookAtKeys(t.Context()) || log.Len() != 0 || key(free) != 1 {
		t.Errorf("with a third of the seals: key %d, log %q, want neither a change nor a word", key(free), log)
	}
	half, log := limited(3*made/2, false)
	for range 2 {
		if touch(half); half.LookAtKeys(t.Context()) || strings.Count(log.String(), "half of what it may") != 1 || key(half) != 1 {
			t.Errorf("with two thirds of the seals: key %d, log %q, want it said once", key(half), log)
		}
	}
	spent, _ := limited(made, true)
	if err := touch(spent); err != nil {
		t.Fatal(err) // it learns from its head how much it has sealed
	}
	if err := touch(spent); !errors.Is(err, ledger.ErrRefused) || !strings.Contains(err.Error(), "store rekey") {
		t.Errorf("a change beyond the limit = %v, want it refused", err)
	}
	if err := spent.Ready(); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("Ready beyond the limit = %v, want %v", err, ledger.ErrRefused)
	}
	if r, err := spent.GoOn(t.Context()); err != nil || r.From != 0 {
		t.Errorf("GoOn without a change = %+v, %v", r, err)
	}
	due, _ := limited(made+made/4, false)
	touch(due)
	for due.LookAtKeys(t.Context()) {
	}
	if key(due) != 2 {
		t.Errorf("with four fifths of the seals: key %d, want it changed", key(due))
	}
	k.whole(k.open(), 10)

	over, _ := limited(1, false)
	if err := touch(over); err == nil {
		touch(over)
	}
	if over.LookAtKeys(t.Context()); key(over) != 3 {
		t.Errorf("beyond the limit: key %d, want it changed", key(over))
	}
}
