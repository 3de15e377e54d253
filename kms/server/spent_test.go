package server_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
	"latchkey/kms/store/etcd/etcdtest"
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

// A challenge stays spent for as long as its cookie opens, whatever others
// redeem meanwhile.
func TestSpentIsRememberedWhileItsCookieLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		w := &wire{Handler: f.Handler()}
		web := &http.Server{Handler: w}
		pipe := newPipes()
		go web.Serve(pipe)
		defer web.Close()
		defer pipe.Close()
		c := &kms.Client{Pins: f.Pins(), Dial: pipe.dial}
		if _, err := c.Get(ctx, "http://"+here.String(), node, wants(root)); err != nil {
			t.Fatal(err)
		}
		m3 := w.bodies[len(w.bodies)-2]

		for range 5 {
			time.Sleep(5 * time.Second)
			f.mustGet(node) // forgets what is over
		}
		before := f.events("get")
		if status, _ := post(f.Handler(), kms.RedeemPath, m3); status != http.StatusOK {
			t.Errorf("status %d: the cookie should still open", status)
		}
		if n := f.events("get"); n != before {
			t.Error("a challenge was redeemed twice, 25 seconds apart")
		}
	})
}

// The keys that close cookies are in no backup, nor is what was spent.
func TestCookieKeysAreInNoBackup(t *testing.T) {
	f := newKMSOn(t, openEtcd(t, etcdtest.Start(t)))
	f.mustGet(f.approved())
	db, err := bolt.Open(f.backedUp(), false, server.Tables())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.View(func(r store.Reader) error {
		for _, table := range []string{"cookies", "spent"} {
			if keys, _ := all(r, table); len(keys) != 0 {
				t.Errorf("the backup has %d rows of %s", len(keys), table)
			}
		}
		if keys, _ := all(r, "nodes"); len(keys) == 0 {
			t.Error("the backup has no nodes")
		}
		return nil
	})
}

// D10: the report of a node that was deleted after it was granted commits
// nothing.
func TestReportOfDeletedCommitsNothing(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if got := f.deposit(node, kms.Put, data, blob("old")); got != kms.OK {
		t.Fatal(got.Code())
	}
	if got := f.deposit(node, kms.Stage, data, blob("new")); got != kms.OK {
		t.Fatal(got.Code())
	}
	g, err := f.get(node, data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.DeleteNode(ctx, node.NodeID().String()); err != nil {
		t.Fatal(err)
	}
	if err := f.client().Report(ctx, f.url, g, []kms.Result{{UUID: data, Outcome: kms.OpenedStaged, SeqID: 9}}); err != nil {
		t.Fatal(err)
	}
	if rows, err := f.VolumesOf(data); err != nil || !rows[0].Staged || rows[0].MinSeq != 0 {
		t.Errorf("a deleted node's report committed: %+v, %v", rows, err)
	}
}
