package server_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/lk1"
)

// sealedKey is what a machine leaves: a file of age, of which the key server
// reads no more than how it begins.
func sealedKey(name string) []byte { return []byte("age-encryption.org/v1\n" + name) }

// slot is the keyslot of a sealed key as its machine sees it.
func slot(name, evidence string) kms.Escrow {
	return kms.Escrow{Key: sha256.Sum256(sealedKey(name)), Evidence: sha256.Sum256([]byte(evidence))}
}

// saysOf is one word of a machine's on recovery keys of a volume.
func (f *fixture) saysOf(node kms.Prover, w kms.RecoveryWord) (kms.RecoveryState, error) {
	f.t.Helper()
	reply, err := f.client().Recovery(ctx, f.url, node, wants(w.UUID), []kms.RecoveryWord{w})
	if err != nil {
		return kms.RecoveryState{}, err
	}
	return reply.Volumes[0], nil
}

func (f *fixture) says(node kms.Prover, w kms.RecoveryWord) kms.RecoveryState {
	f.t.Helper()
	w.UUID = root
	state, err := f.saysOf(node, w)
	if err != nil {
		f.t.Fatal(err)
	}
	return state
}

// leaves has a machine leave a sealed key, beside the keyslots of others.
func (f *fixture) leaves(node kms.Prover, name string, others ...kms.Escrow) kms.RecoveryState {
	f.t.Helper()
	return f.says(node, kms.RecoveryWord{Sealed: sealedKey(name), Escrows: append(others, slot(name, name))})
}

// looks has a machine say which keyslots it sees.
func (f *fixture) looks(node kms.Prover, seen ...kms.Escrow) kms.RecoveryState {
	f.t.Helper()
	return f.says(node, kms.RecoveryWord{Escrows: seen})
}

// stands is how it stands with the root volume's recovery key.
func (f *fixture) stands(want string) lk1.Recovery {
	f.t.Helper()
	r, err := f.RecoveryOf(ctx, root)
	if err != nil || r.Standing != want {
		f.t.Errorf("the recovery key is %q, %v; want %q", r.Standing, err, want)
	}
	return r
}

// A sealed key is kept, proven by the next boot and by no other, handed out
// once, and replaced by one that is proven, too.
func TestRecovery(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.stands(lk1.RecoveryNone)
	if s := f.leaves(node, "first"); s.Status != kms.OK || s.Current != slot("first", "").Key || s.Proven || s.Renew {
		t.Errorf("after it left a key: %+v", s)
	}
	f.looks(node, slot("first", "first"))
	f.stands(lk1.RecoveryUnproven) // it is the same boot

	node.Reset++
	if s := f.looks(node, slot("first", "first")); !s.Proven || s.Renew {
		t.Errorf("after the next boot: %+v", s)
	}
	r := f.stands(lk1.RecoveryProven)
	if r.Proven.IsZero() || r.ProvenBy != node.NodeID().Words() || !r.Open() || !f.audited("recovery proven", "sealed key ") {
		t.Errorf("it is proven, and shown as %+v", r)
	}

	out, err := f.ReleaseRecovery(by("alice"), root, lk1.Handing{Reason: "the mainboard is dead"})
	if err != nil || !bytes.Equal(out.Sealed, sealedKey("first")) || !out.Proven || out.Needs != "" {
		t.Fatalf("ReleaseRecovery = %+v, %v", out, err)
	}
	if !f.audited("recovery release", "the mainboard is dead") {
		t.Error("why it was handed out is not in the audit log")
	}
	r = f.stands(lk1.RecoveryUsed)
	if len(r.Handed) != 1 || r.Handed[0].Who != "alice" || r.Open() {
		t.Errorf("after it was handed out it is shown as %+v", r)
	}

	if s := f.looks(node, slot("first", "first")); !s.Renew {
		t.Error("its machine is not told to make another")
	}
	if s := f.leaves(node, "second", slot("first", "first")); s.Renew || s.Current != slot("first", "").Key || s.Next != slot("second", "").Key {
		t.Errorf("after it left another: %+v", s)
	}
	f.stands(lk1.RecoveryUsed)
	node.Reset++
	if s := f.looks(node, slot("first", "first"), slot("second", "second")); s.Current != slot("second", "").Key || !s.Proven || s.Next != [32]byte{} {
		t.Errorf("once the second is proven: %+v", s)
	}
	if r := f.stands(lk1.RecoveryProven); len(r.Handed) != 1 {
		t.Errorf("that the first was handed out is forgotten: %+v", r)
	}
	if _, err := f.Check(); err != nil {
		t.Error(err)
	}
}

// A key is handed out once; a second time somebody must say that it is meant.
// Who gives no reason gets nothing.
func TestRecoveryIsHandedOutOnce(t *testing.T) {
	f := newKMS(t)
	f.leaves(f.approved(), "first")
	for _, reason := range []string{"", " ", "two\nlines", string(bytes.Repeat([]byte("x"), 301))} {
		if out, err := f.ReleaseRecovery(ctx, root, lk1.Handing{Reason: reason}); err == nil || out.Sealed != nil {
			t.Errorf("ReleaseRecovery because %q = %v, want an error", reason, err)
		}
	}
	f.stands(lk1.RecoveryUnproven)
	if _, err := f.ReleaseRecovery(by("alice"), root, lk1.Handing{Reason: "a drill"}); err != nil {
		t.Fatal(err)
	}
	out, err := f.ReleaseRecovery(by("bob"), root, lk1.Handing{Reason: "me, too"})
	if err == nil || !strings.Contains(err.Error(), "alice had it") || out.Sealed != nil {
		t.Errorf("it was handed out a second time, or nobody is told to whom: %v", err)
	}
	if out, err = f.ReleaseRecovery(by("bob"), root, lk1.Handing{Reason: "me, too", Again: true}); err != nil || out.Sealed == nil {
		t.Errorf("ReleaseRecovery again = %v", err)
	}
	if !f.audited("recovery release", "again, ") {
		t.Error("that it was handed out again is not in the audit log")
	}
	if _, err := f.ReleaseRecovery(ctx, data, lk1.Handing{Reason: "a drill"}); err == nil {
		t.Error("a volume without a key has one")
	}
}

// D53: one of two people is handed nothing, however often he asks.
func TestRecoveryOfTwoPeople(t *testing.T) {
	f, node := needTwo(t)
	f.approves("alice", node, asItIs)
	f.approves("bob", node, asItIs)
	f.leaves(node, "first")
	for i, who := range []string{"alice", "alice", "bob"} {
		out, err := f.ReleaseRecovery(by(who), root, lk1.Handing{Reason: "because of " + who})
		if last := i == 2; err != nil || (out.Sealed != nil) != last || (out.Needs == "") != last {
			t.Errorf("%s: %+v, %v", who, out, err)
		}
	}
	r := f.stands(lk1.RecoveryUsed)
	if len(r.Handed) != 1 || r.Handed[0].By() != "bob, with alice" || !f.audited("recovery asked", "because of alice") {
		t.Errorf("it was handed out as %+v", r.Handed)
	}
}

// D54: what another machine says of a volume proves nothing, nor does what is
// said of another sealed key, or of another keyslot.
func TestRecoveryIsProvenByItsOwnMachine(t *testing.T) {
	f := newKMS(t)
	node, other := f.approved(), newTPM(t)
	f.approve(other, data)
	f.leaves(node, "first")
	node.Reset++

	if s := f.looks(other, slot("first", "first")); s.Status != kms.NotBound || s.Current != [32]byte{} {
		t.Errorf("another machine is told %+v", s)
	}
	f.stands(lk1.RecoveryUnproven)
	for name, seen := range map[string][]kms.Escrow{
		"no keyslot":          nil,
		"another sealed key":  {slot("other", "first")},
		"the keyslot changed": {slot("first", "other")},
	} {
		if s := f.looks(node, seen...); s.Proven || !s.Renew {
			t.Errorf("%s: %+v", name, s)
		}
		f.stands(lk1.RecoveryGone)
	}
	if s := f.looks(node, slot("first", "first")); !s.Proven {
		t.Errorf("its own: %+v", s)
	}
	f.looks(node, slot("first", "other"))
	if r := f.stands(lk1.RecoveryGone); r.Proven.IsZero() || r.Since.IsZero() {
		t.Errorf("after its keyslot changed it is shown as %+v", r)
	}
}

// D55: a word that is sent again says nothing.
func TestRecoveryWordIsGoodOnce(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.leaves(node, "first")
	node.Reset++
	var said []byte
	tap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == kms.RecoveryPath {
			said = body
		}
		reply, err := http.Post(f.url+r.URL.Path, "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer reply.Body.Close()
		w.WriteHeader(reply.StatusCode)
		io.Copy(w, reply.Body)
	}))
	defer tap.Close()
	word := kms.RecoveryWord{UUID: root, Escrows: []kms.Escrow{slot("first", "first")}}
	if _, err := f.client().Recovery(ctx, tap.URL, node, wants(root), []kms.RecoveryWord{word}); err != nil {
		t.Fatal(err)
	}
	f.looks(node) // its keyslot is gone since
	reply, err := http.Post(f.url+kms.RecoveryPath, "application/octet-stream", bytes.NewReader(said))
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusForbidden {
		t.Errorf("the same word again: status %d, want 403", reply.StatusCode)
	}
	f.stands(lk1.RecoveryGone)
}

// D56, D57: who does not own the volume, who is not approved and who was
// stopped leave nothing.
func TestRecoveryIsItsOwnersToLeave(t *testing.T) {
	f := newKMS(t)
	node, other, stranger := f.approved(), newTPM(t), newTPM(t)
	f.approve(other, data)
	if s := f.leaves(other, "planted"); s.Status != kms.NotBound {
		t.Errorf("another's machine: %s", s.Status.Code())
	}
	word := kms.RecoveryWord{UUID: root, Sealed: sealedKey("planted"), Escrows: []kms.Escrow{slot("planted", "")}}
	if _, err := f.saysOf(stranger, word); code(err) != "pending" {
		t.Errorf("a stranger: %v, want pending", err)
	}
	if n, err := f.Nodes(); err != nil || len(n) != 2 {
		t.Errorf("after a stranger asked there are %d machines, %v; want 2", len(n), err)
	}
	if s := f.says(node, kms.RecoveryWord{Sealed: sealedKey("no keyslot")}); s.Status != kms.Exists {
		t.Errorf("a key without a keyslot: %s", s.Status.Code())
	}
	plain := []byte("not sealed at all")
	if s := f.says(node, kms.RecoveryWord{Sealed: plain, Escrows: []kms.Escrow{{Key: sha256.Sum256(plain)}}}); s.Status != kms.Exists {
		t.Errorf("a key that is not sealed: %s", s.Status.Code())
	}
	f.stands(lk1.RecoveryNone)
	if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.saysOf(node, word); code(err) != "quarantined" {
		t.Errorf("a machine in quarantine: %v", err)
	}
	f.stands(lk1.RecoveryNone)
}

// A machine that was stopped between the two messages leaves nothing either.
func TestRecoveryOfAMachineStoppedMeanwhile(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	stop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == kms.RecoveryPath {
			if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
				t.Error(err)
			}
		}
		reply, err := http.Post(f.url+r.URL.Path, "application/octet-stream", r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer reply.Body.Close()
		w.WriteHeader(reply.StatusCode)
		io.Copy(w, reply.Body)
	}))
	defer stop.Close()
	word := kms.RecoveryWord{UUID: root, Sealed: sealedKey("late"), Escrows: []kms.Escrow{slot("late", "")}}
	if _, err := f.client().Recovery(ctx, stop.URL, node, wants(root), []kms.RecoveryWord{word}); err == nil {
		t.Error("it was answered")
	}
	f.stands(lk1.RecoveryNone)
}
