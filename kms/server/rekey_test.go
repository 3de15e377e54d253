package server_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

// The data key changes while two servers on one store release keys, of which
// the other one notices nothing; a third that comes later verifies the whole.
func TestRekeyOnSharedStores(t *testing.T) { onSharedStores(t, sharedRekey) }

func sharedRekey(t *testing.T, open func() store.Store) {
	one := newKMSOn(t, open())
	two := one.beside(open())
	node := one.approved()
	stop := one.looking(t, two)
	defer stop()

	var load sync.WaitGroup
	busy, enough := context.WithCancel(ctx)
	defer enough()
	for _, f := range []*fixture{one, two} {
		load.Go(func() {
			for busy.Err() == nil {
				if g, err := f.get(node); err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != canary {
					t.Errorf("while the data key changes: %v, %v", g, err)
					return
				}
			}
		})
	}
	from, to, err := two.Rekey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rekeyed(t, two, to)
	rekeyed(t, one, to)
	enough()
	load.Wait()

	for _, f := range []*fixture{one, two, one.beside(open())} {
		if _, err := f.Check(); err != nil {
			t.Errorf("after the change from %d to %d: %v", from, to, err)
		}
		if _, err := f.get(node); err != nil {
			t.Errorf("after the change from %d to %d: %v", from, to, err)
		}
	}
}

// looking has servers look after the data key, as the daemon does.
func (f *fixture) looking(t *testing.T, others ...*fixture) (stop func()) {
	t.Helper()
	on, end := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, one := range append(others, f) {
		all.Go(func() { one.WatchDataKeys(on) })
	}
	return func() { end(); all.Wait() }
}

// rekeyed waits until a server has one data key.
func rekeyed(t *testing.T, f *fixture, id uint32) {
	t.Helper()
	await(t, "a changed data key", func() bool {
		keys, err := f.DataKeys()
		if err != nil {
			t.Fatal(err)
		}
		return len(keys) == 1 && keys[0].ID == id
	})
}

// On a database of its own the change is done beside the releases, monitoring
// says how far it is, and a copy that is made meanwhile verifies.
func TestRekeyBesideReleases(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	ready := func() string {
		w := httptest.NewRecorder()
		f.HealthHandler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Body.String()
	}
	measured := func() string {
		w := httptest.NewRecorder()
		f.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	if got := ready(); strings.Contains(got, "data key") {
		t.Errorf("/readyz speaks of the data key for no reason: %s", got)
	}
	if _, _, err := f.Rekey(ctx); err != nil {
		t.Fatal(err)
	}
	if got := ready(); !strings.Contains(got, "changing the data key from 1 to 2") {
		t.Errorf("/readyz says %q, want that the data key changes", got)
	}
	if got := measured(); !strings.Contains(got, "latchkey_data_key_changing 1") || !strings.Contains(got, `latchkey_data_key_seals{key="1"}`) {
		t.Errorf("the metrics say nothing of the change:\n%s", got)
	}
	if _, err := f.JudgeCopy(f.backedUp()); err != nil {
		t.Error(err)
	}
	if r, err := f.GoOn(ctx); err != nil || r != (ledger.Rekeying{To: 2}) {
		t.Fatalf("GoOn = %+v, %v, want it done", r, err)
	}
	if got := measured(); !strings.Contains(got, "latchkey_data_key_changing 0") || strings.Contains(got, `latchkey_data_key_seals{key="1"}`) {
		t.Errorf("the metrics say that the change goes on:\n%s", got)
	}
	if _, err := f.JudgeCopy(f.backedUp()); err != nil {
		t.Error(err)
	}
	if _, err := f.get(node); err != nil {
		t.Error(err)
	}
}
