package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// What is no beat of this machine in this boot is not taken.
func TestBeatsThatAreNone(t *testing.T) {
	other := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	}
	for name, change := range map[string]func(f *fixture, node *beater){
		"another boot":          func(_ *fixture, node *beater) { node.Reset++ },
		"another machine's key": func(f *fixture, node *beater) { node.Key = other() },
		"it booted since, and an earlier boot's key signs": func(f *fixture, node *beater) {
			before := *node.TPM
			node.Reset++
			f.mustGet(node.TPM)
			node.TPM = &before
		},
		"quarantined": func(f *fixture, node *beater) {
			if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
				f.t.Fatal(err)
			}
		},
		"deleted": func(f *fixture, node *beater) {
			if _, err := f.DeleteNode(ctx, node.NodeID().String()); err != nil {
				f.t.Fatal(err)
			}
		},
		"in another network than it may": func(f *fixture, node *beater) {
			f.set(node.TPM, policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newKMS(t)
			node := f.present()
			node.beat("")
			change(f, node)
			node.beat("kms-no-grant")
		})
	}
}

// A ticket is of a key server of this store, and of no other.
func TestForgedTicket(t *testing.T) {
	f, other := newKMS(t), newKMS(t)
	node, theirs := f.present(), other.present()
	node.beats = theirs.beats
	node.beat("kms-no-grant")
}

// A key that is not of this boot's null hierarchy, or not of this exchange, is
// not registered.
func TestKeysOfBeats(t *testing.T) {
	for name, change := range map[string]func(*softtpm.Certificate){
		"no TPM made it":         func(c *softtpm.Certificate) { c.Magic++ },
		"a quote":                func(c *softtpm.Certificate) { c.Type = 0x8018 },
		"another AK's hierarchy": func(c *softtpm.Certificate) { c.Signer = c.Qualified },
		"another challenge":      func(c *softtpm.Certificate) { c.Extra = make([]byte, 32) },
		"another key":            func(c *softtpm.Certificate) { c.Name = append([]byte{0, 11}, make([]byte, 32)...) },
		"of another hierarchy":   func(c *softtpm.Certificate) { c.Qualified = c.Name },
		"another boot's":         func(c *softtpm.Certificate) { c.Reset++ },
	} {
		t.Run(name, func(t *testing.T) {
			f := newKMS(t)
			node := &beater{&softtpm.Beater{TPM: f.approved(), Certify: change}, f, nil}
			node.register("kms-no-grant")
			node.Certify = nil
			node.register("")
		})
	}
}

// Who may not have its keys does not beat; who was never approved leaves
// nothing.
func TestWhoMayBeat(t *testing.T) {
	f := newKMS(t)
	stranger := &beater{&softtpm.Beater{TPM: newTPM(t)}, f, nil}
	stranger.register("pending")
	if _, err := f.Node(stranger.NodeID().String()); err == nil {
		t.Error("a stranger that would beat has a row")
	}
	node := f.present()
	node.PCRs[12] = [32]byte{99}
	node.register("pcr-mismatch")
}

// The key server must be the pinned one when the machine registers, and each
// answer must be its own.
func TestBeatsKnowTheirKMS(t *testing.T) {
	f, other := newKMS(t), newKMS(t)
	node := f.present()
	if _, err := other.client().Register(ctx, f.url, node, wants(root)); code(err) != "kms-wrong-pin" {
		t.Errorf("Register with another pin = %v, want kms-wrong-pin", err)
	}
	rogue := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write((&kms.BeatAnswer{Ticket: make([]byte, 100)}).Encode())
	}))
	defer rogue.Close()
	if err := f.client().Beat(ctx, rogue.URL, node, node.beats); code(err) != "kms-wrong-pin" {
		t.Errorf("Beat to another = %v, want kms-wrong-pin", err)
	}
	node.beat("") // the ticket that it has is still good
}
