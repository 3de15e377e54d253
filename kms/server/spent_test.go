package server_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"latchkey/kms"
	"latchkey/kms/store"
)

// updates counts transactions, and those that fail.
type updates struct {
	store.Store
	all, failed atomic.Int64
	hold        func() // before one begins
}

func (u *updates) Update(ctx context.Context, f func(store.Tx) error) error {
	u.all.Add(1)
	if u.hold != nil {
		u.hold()
	}
	return u.Store.Update(ctx, func(tx store.Tx) error {
		err := f(tx)
		if err != nil {
			u.failed.Add(1)
		}
		return err
	})
}

// D11, faults/kms.md H1: a proof that is sent again costs no transaction: one
// that fails makes all that share its write run again.
func TestSpentProofCostsNoWrite(t *testing.T) {
	u := &updates{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store { u.Store = st; return u }
	})
	node := f.approved()
	w := f.through(&wire{})
	f.mustGet(node)
	m3 := w.bodies[len(w.bodies)-2]

	before := u.all.Load()
	for range 20 {
		if status, _ := post(f.Handler(), kms.RedeemPath, m3); status != 200 {
			t.Fatalf("status %d, want the uniform refusal", status)
		}
	}
	if n := u.all.Load() - before; n != 0 {
		t.Errorf("20 spent proofs cost %d transactions, want none", n)
	}
}

// faults/kms.md H1: copies of a fresh proof that come at once: one is
// redeemed, and no transaction fails.
func TestSpentAtOnceFailsNoWrite(t *testing.T) {
	const copies = 8
	u := &updates{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store { u.Store = st; return u }
	})
	node := f.approved()
	m3 := honest(t, f, node)

	var met sync.WaitGroup // all are past the read before the first writes
	met.Add(copies)
	u.hold = func() { met.Done(); met.Wait() }
	var group sync.WaitGroup
	for range copies {
		group.Go(func() { post(f.Handler(), kms.RedeemPath, m3) })
	}
	group.Wait()
	u.hold = nil

	if events := f.events("get"); events != 1 {
		t.Errorf("the log has %d grants, want 1", events)
	}
	if n := u.failed.Load(); n != 0 {
		t.Errorf("%d transactions failed, want none", n)
	}
}

// honest is an M3 that nobody has redeemed yet.
func honest(t *testing.T, f *fixture, p kms.Prover) (m3 []byte) {
	t.Helper()
	w := &wire{Handler: f.Handler()}
	w.request = func(path string, body []byte) []byte {
		if path == kms.RedeemPath {
			m3 = body
			return nil
		}
		return body
	}
	c := &kms.Client{Pins: f.Pins()}
	c.Get(ctx, serveHTTP(t, w), p, wants(root))
	if m3 == nil {
		t.Fatal("the client sent no M3")
	}
	return m3
}
