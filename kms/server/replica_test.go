package server_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/kms/softtpm"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// Replicas are two key servers of one KMS. Challenges are given out by one and
// redeemed at the other.
type replicas struct {
	t                 *testing.T
	db                store.Store
	wrapping          secret.Bytes
	challenges, spent *server.Server
	pipe              *pipes
	bodies            map[string][]byte // the last request of each path
	tpm               *softtpm.TPM
}

func newReplicas(t *testing.T) *replicas {
	t.Helper()
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, server.Tables())
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { db.Close() })
	p := &replicas{t: t, db: db, wrapping: secret.Random(32), pipe: newPipes(), bodies: map[string][]byte{}}
	if _, err := ledger.Initialize(ctx, db, p.wrapping, ledger.MarkFile(filepath.Join(dir, "epoch"))); err != nil {
		t.Fatal(err)
	}

	p.challenges, p.spent = p.replica(), p.replica()
	web := &http.Server{Handler: p}
	go web.Serve(p.pipe)
	t.Cleanup(func() { web.Close(); p.pipe.Close() })
	if err := p.spent.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}

	p.tpm = newTPM(t)
	if _, err := p.get(); code(err) != "pending" {
		t.Fatalf("Get before approval = %v, want code pending", err)
	}

	if _, err := p.challenges.ApproveNode(ctx, lk1.Approval{Who: p.tpm.NodeID().Words(), Volumes: []kms.UUID{root}}); err != nil {
		t.Fatal(err)
	}
	return p
}

// replica is another server on the same store, with a mark of its own.
func (p *replicas) replica() *server.Server {
	p.t.Helper()
	mark := ledger.MarkFile(filepath.Join(p.t.TempDir(), "epoch"))
	if err := mark.Write(ledger.Position{Epoch: 1}); err != nil {
		p.t.Fatal(err)
	}
	s, err := server.Open(server.Config{Store: p.db, Shared: true, Wrapping: p.wrapping, Mark: mark, Log: discard})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := s.Begin(ctx); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// ServeHTTP is the balancer before the two.
func (p *replicas) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := p.spent
	if r.URL.Path == kms.ChallengePath {
		to = p.challenges
	}
	body, _ := io.ReadAll(r.Body)
	p.bodies[r.URL.Path] = body
	r.Body = io.NopCloser(bytes.NewReader(body))
	to.Handler().ServeHTTP(w, r)
}

func (p *replicas) get() (*kms.Grant, error) {
	c := &kms.Client{Pins: p.spent.Pins(), Dial: p.pipe.dial}
	return c.Get(context.Background(), "http://"+here.String(), p.tpm, wants(root))
}

func (p *replicas) mustGet() {
	p.t.Helper()
	g, err := p.get()
	if err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != canary {
		p.t.Fatalf("Get of a challenge that the other replica gave = %v, %v, want the canary", g, err)
	}
}

// refused: the last proof, sent again, is answered as any refusal is, or not
// taken at all.
func (p *replicas) refused(at *server.Server, when string) {
	p.t.Helper()
	before := p.grants()
	post(at.Handler(), kms.RedeemPath, p.bodies[kms.RedeemPath])
	if after := p.grants(); after != before {
		p.t.Errorf("%s: a proof that was spent was taken again", when)
	}
}

func (p *replicas) grants() (n int) {
	w := httptest.NewRecorder()
	p.spent.AdminHandler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/audit?from=1", nil))
	return bytes.Count(w.Body.Bytes(), []byte(`"event":"get"`))
}

// One replica's challenge is redeemed at the other, once.
func TestReplicasShareChallenges(t *testing.T) {
	p := newReplicas(t)
	p.mustGet()
	for range 2 {
		p.refused(p.spent, "at the same replica")
		p.refused(p.challenges, "at the other replica")
	}
	p.mustGet()
}

// A replica that starts does not end what another has begun, nor make good
// what was spent.
func TestReplicaStarts(t *testing.T) {
	p := newReplicas(t)
	p.mustGet()
	p.spent = p.replica()
	p.refused(p.spent, "at a replica that has just started")
	p.mustGet()
	if _, err := p.spent.Check(); err != nil {
		t.Errorf("Check = %v", err)
	}
}

// Keys change while both answer, and the one who was idle catches up.
func TestReplicasChangeKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newReplicas(t)
		for range 8 {
			p.mustGet()
			p.challenges, p.spent = p.spent, p.challenges
			p.mustGet()
			p.refused(p.challenges, "before the keys change")
			time.Sleep(11 * time.Minute)
			p.refused(p.challenges, "after the keys changed")
		}
		time.Sleep(3 * time.Hour)
		p.mustGet()
		if n := p.rows("spent"); n > 8 {
			t.Errorf("%d spent challenges are kept after hours, want only those of the last keys", n)
		}
	})
}

func (p *replicas) rows(table string) (n int) {
	p.db.View(func(r store.Reader) error {
		r.Scan(table, nil, func(_, _ []byte) bool { n++; return true })
		return nil
	})
	return n
}

// A clock that is set back makes nothing good again: neither a challenge
// that was spent, nor, when its key is gone, one that is otherwise too old.
func TestReplicaWithOldClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newReplicas(t)
		p.mustGet()
		proof := bytes.Clone(p.bodies[kms.RedeemPath])
		late := p.replica()
		for range 2 { // two keys are accepted, and this is the third
			time.Sleep(11 * time.Minute)
			p.challenges, p.spent = p.spent, p.challenges
			p.mustGet()
		}

		late.Skew(-22 * time.Minute)
		p.bodies[kms.RedeemPath] = proof
		p.refused(late, "at a replica whose clock was set back")
		if n := p.rows("spent"); n > 2 {
			t.Errorf("%d spent challenges are kept, want those of the last two keys only", n)
		}
	})
}

// The keys of cookies are in the store sealed, and in no list of what a
// backup has.
func TestCookieKeysAreSealed(t *testing.T) {
	p := newReplicas(t)
	p.mustGet()
	other := newReplicas(t)
	var ring []byte
	p.db.View(func(r store.Reader) error {
		ring = bytes.Clone(r.Get("cookies", []byte("ring")))
		return nil
	})

	if len(ring) == 0 {
		t.Fatal("there is no record of cookie keys")
	}
	err := other.db.Update(ctx, func(tx store.Tx) error { return tx.Put("cookies", []byte("ring"), ring) })
	if err != nil {
		t.Fatal(err)
	}

	if g, err := other.get(); err == nil {
		t.Errorf("Get with the cookie keys of another KMS in the store = %v, want it refused", g)
	}
}
