package server_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/store"
	"latchkey/kms/store/etcd/etcdtest"
	"latchkey/kms/store/kube"
	"latchkey/kms/store/kube/kubetest"
	"latchkey/kms/store/mirror"
)

// Two servers on one etcd, or in one cluster, seal their logs and remove
// them; each takes what the other does for what it is, and a third that comes
// later verifies the whole.
func TestHistoryOnSharedStores(t *testing.T) { onSharedStores(t, sharedHistory) }

// onSharedStores runs a test on etcd and in a cluster.
func onSharedStores(t *testing.T, test func(t *testing.T, open func() store.Store)) {
	t.Run("etcd", func(t *testing.T) {
		cluster := etcdtest.Start(t)
		test(t, func() store.Store { return openEtcd(t, cluster) })
	})
	t.Run("kube", func(t *testing.T) {
		api := kubetest.Start(t)
		api.Namespace(t, "keys")
		test(t, func() store.Store {
			db, err := kube.Open(ctx, kube.Config{
				Client: api.Client(t, kubetest.Admin), Namespace: "keys", Name: "kms", Create: true,
				Config: mirror.Config{Tables: server.Tables(), Logs: server.LogTables(), Passing: server.PassingTables()},
			})
			if err != nil {
				t.Fatal(err)
			}
			return db
		})
	})
}

// beside is one more server on a store.
func (f *fixture) beside(st store.Store) *fixture {
	f.t.Helper()
	more := &fixture{t: f.t, dir: f.t.TempDir(), wrapping: f.wrapping, enroll: f.enroll}
	if err := more.mark().Write(ledger.Position{}); err != nil {
		f.t.Fatal(err)
	}
	if err := more.serve(st, true); err != nil {
		f.t.Fatal(err)
	}
	return more
}

func sharedHistory(t *testing.T, open func() store.Store) {
	one := newKMSOn(t, open())
	join := func() *fixture { return one.beside(open()) }
	two := join()
	const events = 120 // more than one transaction removes
	for _, f := range []*fixture{one, two} {
		for range events / 40 {
			err := f.Update(ctx, func(t *ledger.Txn) error {
				var failed error
				for i := range 40 {
					failed = errors.Join(failed, t.Note(ledger.Event{Event: "get", Detail: fmt.Sprint(i)}))
				}
				return failed
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, f := range []*fixture{one, two} {
		if done, err := f.SealDue(ctx, 0); err != nil || len(done) == 0 || done[0].End < events {
			t.Fatalf("SealDue = %+v, %v, want a segment of more than %d events", done, err, events)
		}
	}
	if gone, err := two.Prune(ctx, ledger.Keep{For: time.Nanosecond}); err != nil || len(gone) < 2 {
		t.Fatalf("Prune = %d segments, %v, want those of both servers", len(gone), err)
	}
	for name, f := range map[string]*fixture{"one": one, "two": two, "a third": join()} {
		c, err := f.Check()
		if err == nil {
			err = errors.Join(f.Ready(), f.VerifySealed(ctx))
		}
		first, last, bad := f.AuditRange()
		if err = errors.Join(err, bad); err != nil || c.Events < 2*events+2 || last-first > 20 {
			t.Errorf("%s: %d events, of which those from %d to %d are kept: %v", name, c.Events, first, last, err)
		}
	}
}

// D12: a server notices when somebody who has no key removes events, be they
// sealed or not, and releases nothing.
func TestEventsRemovedUnderRunningServers(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		p := newCouple(t)
		p.one.mustGet(p.one.approved())
		if sealed {
			if _, err := p.one.SealDue(ctx, 0); err != nil {
				t.Fatal(err)
			}
		}
		first := p.firstEvent()
		p.write(rows{first: nil})
		p.refuses(p.one, "the server that wrote it")
		p.refuses(p.two, "the other server")
	}
}

// firstEvent is where the oldest event stands.
func (p *couple) firstEvent() (at [2]string) {
	p.t.Helper()
	err := p.thief.View(func(r store.Reader) error {
		r.Scan("audit", nil, func(key, _ []byte) bool { at = [2]string{"audit", string(key)}; return false })
		return nil
	})
	if err != nil || at[0] == "" {
		p.t.Fatalf("the first event: %v", err)
	}
	return at
}
