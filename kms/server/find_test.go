package server_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
	"latchkey/kms/store"
)

// H3: a machine is found by its words, and stopped, whatever the rows of the
// others say: none of them is opened.
func TestFindByWordsOpensOneRow(t *testing.T) {
	var db store.Store
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store { db = st; return st }
	})
	a, b := f.approved(), newTPM(t)
	f.approve(b, kms.UUID{3})
	id := b.NodeID()
	if err := db.Update(ctx, func(tx store.Tx) error { return tx.Put("nodes", id[:], []byte("x")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Node("somebody"); !errors.Is(err, ledger.ErrUnverified) {
		t.Fatalf("looking for a name with a damaged row = %v, want %v", err, ledger.ErrUnverified)
	}
	if n, err := f.SetQuarantine(ctx, a.NodeID().Words(), true); err != nil || !n.Quarantined {
		t.Errorf("quarantine by words = %v, %v", n.Quarantined, err)
	}
}

// TestFind: a machine is found by its words, its name, the first of its words
// or of its id's digits; by nothing less, and where several match all are
// named.
func TestFind(t *testing.T) {
	f := newKMS(t)
	name := func(n *softtpm.TPM, name string) {
		t.Helper()
		if _, err := f.SetNode(ctx, n.NodeID().String(), policy.Change{Labels: map[string]string{"name": name}}); err != nil {
			t.Fatal(err)
		}
	}
	a, b := newTPM(t), newTPM(t)
	f.mustPend(a)
	f.mustPend(b)
	id, words := a.NodeID().String(), strings.Fields(a.NodeID().Words())
	first := func(n int) string { return strings.Join(words[:n], " ") }
	found := func(who string, want kms.NodeID) {
		t.Helper()
		if n, err := f.Node(who); err != nil || n.ID != want {
			t.Errorf("Node(%q) = %s, %v, want %s", who, n.Words, err, want.Words())
		}
	}
	missing := func(who string, want error) string {
		t.Helper()
		n, err := f.Node(who)
		if !errors.Is(err, want) {
			t.Errorf("Node(%q) = %s, %v, want %v", who, n.Words, err, want)
			return ""
		}
		return err.Error()
	}

	name(a, "till-5")
	for _, who := range []string{first(6), strings.ToUpper(first(6)), strings.Join(words, "-"), first(5), first(3), id, id[:8], "till-5", " Till-5 "} {
		found(who, a.NodeID())
	}
	for _, who := range []string{"", " ", "till", "till-50", id[:7], first(5) + " " + words[5][:len(words[5])-1], first(1)[:2], first(6) + " " + words[0]} {
		missing(who, ledger.ErrNotFound)
	}

	name(b, "till-5")
	text := missing("till-5", ledger.ErrAmbiguous)
	for _, n := range []*softtpm.TPM{a, b} {
		if want := n.NodeID().Words() + " (till-5, " + n.NodeID().String()[:8] + ")"; !strings.Contains(text, want) {
			t.Errorf("the error %q does not name %s", text, want)
		}
	}
	name(b, words[0])           // b is called what a's words begin with
	found(words[0], b.NodeID()) // a may be anybody's
	f.approve(a)
	missing(words[0], ledger.ErrAmbiguous)
	found(first(2), a.NodeID())
	if _, err := f.SetQuarantine(ctx, "till-5", true); err != nil {
		t.Errorf("SetQuarantine by name = %v", err)
	}
	for _, who := range []string{"till-5", first(5)} {
		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: who}); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("ApproveNode(%q) = %v, want ErrRefused: all six words are compared", who, err)
		}
	}
}
