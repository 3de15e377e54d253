package server_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/store"
)

// faults/kms.md M2: approving again, to renew, gives no volume of others.
func TestRenewalBindsNothing(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	other := kms.UUID{9}
	if err := f.PutVolume(ctx, other, secret.Own([]byte("another machine's"))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node, root, other); err != nil {
		t.Fatal(err)
	}

	who := node.NodeID().Words()
	for name, renew := range map[string]func() error{
		"approve": func() error { _, err := f.ApproveNode(ctx, lk1.Approval{Who: who}); return err },
		"renew":   func() error { _, err := f.RenewNode(ctx, who); return err },
	} {
		if err := renew(); err != nil {
			t.Fatal(err)
		}
		if g, err := f.get(node, root, other); err != nil || g.Volumes[1].Status != kms.NotBound {
			t.Errorf("after %s: %v, %v, want not-bound", name, g, err)
		}
	}

	if out, err := f.ApproveNode(ctx, lk1.Approval{Who: who, Bind: true}); err != nil || len(out.Bound) != 0 || len(out.Held) != 1 {
		t.Errorf("ApproveNode with Bind = %+v, %v, want volume %s held: nobody named it", out, err, other)
	}
	if out, err := f.ApproveNode(ctx, lk1.Approval{Who: who, Volumes: []kms.UUID{other}}); err != nil || len(out.Bound) != 1 {
		t.Errorf("ApproveNode with Bind = %+v, %v, want volume %s bound", out, err, other)
	}
}

// faults/kms.md M3: a machine that asks again between the look and the word
// decides nothing.
func TestOnlyWhatWasLookedAt(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	who := node.NodeID().String()
	looked, err := f.Node(who)
	if err != nil {
		t.Fatal(err)
	}

	node.PCRs[11] = [32]byte{66}
	if _, err := f.get(node); code(err) != "pcr-mismatch" {
		t.Fatal(err)
	}
	if _, err := f.AcceptNode(ctx, who, lk1.Acceptance{Seen: looked.Seen}); err == nil {
		t.Error("another boot state was accepted than the one that was looked at")
	}
	if err := f.AcceptHeader(ctx, root, looked.Seen); err == nil {
		t.Error("what was shown later was accepted as the header that was looked at")
	}
	now, err := f.Node(who)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.AcceptNode(ctx, who, lk1.Acceptance{Seen: now.Seen}); err != nil {
		t.Error(err)
	}

	stranger := newTPM(t)
	if _, err := f.get(stranger); code(err) != "pending" {
		t.Fatal(err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: stranger.NodeID().Words(), Seen: now.Seen}); err == nil {
		t.Error("a node was approved that showed something else than what was looked at")
	}
}

// A boot is the same as the one before, whatever the TPM's counters say.
func TestShownDigestIsOfTheBoot(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	first, err := f.Node(node.NodeID().String())
	if err != nil {
		t.Fatal(err)
	}
	node.Reset++
	f.mustGet(node)
	if again, err := f.Node(node.NodeID().String()); err != nil || again.Seen != first.Seen || again.Seen == "" {
		t.Errorf("digest %q after a reset, before %q, %v", again.Seen, first.Seen, err)
	}
}

// faults/kms.md H3: a node is looked for outside the transaction that
// changes it.
func TestWordsAreLookedForBefore(t *testing.T) {
	m := &scanned{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store { m.Store = st; return m }
	})
	node := f.approved()
	f.fill(50)
	who := node.NodeID().Words()
	for name, change := range map[string]func() error{
		"quarantine": func() error { _, err := f.SetQuarantine(ctx, who, true); return err },
		"readmit":    func() error { _, err := f.SetQuarantine(ctx, who, false); return err },
		"accept":     func() error { _, err := f.AcceptNode(ctx, who, lk1.Acceptance{}); return err },
		"approve":    func() error { _, err := f.ApproveNode(ctx, lk1.Approval{Who: who}); return err },
		"set": func() error {
			_, err := f.SetNode(ctx, who, policy.Change{Labels: map[string]string{"a": "b"}})
			return err
		},
		"delete":        func() error { _, err := f.DeleteNode(ctx, who); return err },
		"volume delete": func() error { return f.DeleteVolume(ctx, root, false) },
	} {
		m.rows = 0
		if err := change(); err != nil && name != "delete" {
			t.Logf("%s: %v", name, err) // the order of a map: it may be deleted already
		}
		if m.rows > 20 {
			t.Errorf("%s passed %d rows in its transaction", name, m.rows)
		}
	}
}

// scanned counts the rows that transactions pass.
type scanned struct {
	store.Store
	rows int
}

func (m *scanned) Update(ctx context.Context, f func(store.Tx) error) error {
	return m.Store.Update(ctx, func(tx store.Tx) error { return f(scannedTx{tx, m}) })
}

type scannedTx struct {
	store.Tx
	m *scanned
}

func (t scannedTx) Scan(table string, from []byte, f func(key, value []byte) bool) {
	t.Tx.Scan(table, from, func(key, value []byte) bool { t.m.rows++; return f(key, value) })
}

// faults/kms.md H3: an update that lost to others says nothing against the
// store.
func TestConflictIsNoFailureOfTheStore(t *testing.T) {
	u := &failing{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store { u.Store = st; return u }
	})
	node := f.approved()
	for _, row := range []struct {
		err   error
		ready bool
	}{{store.ErrConflict, true}, {store.ErrTooLarge, true}, {fmt.Errorf("no space left"), false}} {
		u.err = row.err
		if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err == nil {
			t.Fatal("the store fails, and the command does not")
		}
		u.err = nil
		if ready := f.Healthy() == nil; ready != row.ready {
			t.Errorf("after %v: ready %t, want %t", row.err, ready, row.ready)
		}
	}
}

type failing struct {
	store.Store
	err error
}

func (u *failing) Update(ctx context.Context, f func(store.Tx) error) error {
	if u.err != nil {
		return u.err
	}
	return u.Store.Update(ctx, f)
}

// faults/kms.md M9: a clock that was set wrong lapses nobody, and what
// lapsed by a clock that is right again is void; all can be renewed at once.
func TestClockThatJumpsLapsesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		month := policy.Duration(30 * 24 * time.Hour)
		f := newKMS(t, inMemory)
		node := f.approved()
		f.mustGet(node)
		if _, err := f.SetNode(ctx, node.NodeID().String(), policy.Change{Settings: policy.Settings{Silence: &month}}); err != nil {
			t.Fatal(err)
		}

		f.Step(90 * 24 * time.Hour)
		f.mustGet(node)
		f.Step(-90 * 24 * time.Hour)
		f.mustGet(node)

		time.Sleep(40 * 24 * time.Hour) // it really was silent
		lapsed := func() bool { _, err := f.get(node); return code(err) == "pending" }
		if !lapsed() {
			t.Error("a node that was silent for 40 days did not lapse")
		}
		if nodes, err := f.RenewLapsed(ctx); err != nil || len(nodes) != 1 {
			t.Errorf("RenewLapsed = %v, %v, want one", nodes, err)
		}
		f.mustGet(node)
	})
}

// peers I11: a machine that waits for approval can be stopped, too, and
// stays stopped when its row would be pruned.
func TestQuarantineOfPending(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	if _, err := f.get(node); code(err) != "pending" {
		t.Fatal(err)
	}
	if _, err := f.SetQuarantine(ctx, node.NodeID().Words(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node); code(err) != "quarantined" {
		t.Errorf("Get = %v, want quarantined", err)
	}
	if _, err := f.SetQuarantine(ctx, node.NodeID().Words(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node); code(err) != "pending" {
		t.Errorf("Get after readmit = %v, want pending", err)
	}
}

// peers I5: an AK of another hierarchy than the endorsement's quotes
// obfuscated counters.
func TestKeyOfAnotherHierarchy(t *testing.T) {
	const owner, null = 0x40000001, 0x40000007
	f := newKMS(t)
	node := f.approved()
	for name, signer := range map[string][]byte{
		"owner": node.Qualified(owner), "null": node.Qualified(null), "none": nil, "zeros": make([]byte, 34),
	} {
		if _, err := f.get(forger{TPM: node, quote: func(pcrs []int, extra []byte) (kms.Quote, error) {
			a, values := node.Statement(pcrs, extra)
			a.Signer = signer
			return node.Sign(a.Encode(), values)
		}}); err == nil {
			t.Errorf("%s: granted", name)
		}
	}
	f.mustGet(node)
}
