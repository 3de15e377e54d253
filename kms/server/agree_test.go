package server_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/fleet"
	"latchkey/kms/softtpm"
)

// A bareNode does lk1 by hand, as an implementation that is not ours would.
type bareNode struct {
	*fixture
	tpm  *softtpm.TPM
	ours *ecdh.PrivateKey
	peer [32]byte // its X25519 share, as M1 says
	// agreed may change what keys are made of.
	agreed func(*kms.Agreed)
}

// redeem is one exchange; it returns the answer and M3.
func (n *bareNode) redeem() (status int, m4, m3 []byte, keys *kms.Keys, th3 [32]byte) {
	n.t.Helper()
	hello := kms.Hello{
		Ephemeral: n.peer, EKPublic: n.tpm.EKPublic(), AKPublic: n.tpm.AKPublic(), Operation: kms.Get, Volumes: wants(),
		Pins: []kms.KeyID{n.Pins()[0].ID()},
	}
	m1 := hello.Encode()
	status, body := post(n.Handler(), kms.ChallengePath, m1)
	m2, err := kms.ParseChallenge(body)
	if err != nil {
		n.t.Fatalf("M2 with status %d: %v", status, err)
	}

	// The core: docs/protocol.md, "M2".
	r := kms.NewReader(m2.Core)
	r.Exact("nonce", 32)
	theirs, mlkemKey := [32]byte(r.Exact("X25519", 32)), r.Exact("ML-KEM", kms.MLKEMKeySize)
	blob, seed, selection := r.Field("credential", 1024), r.Field("seed", 1024), r.Field("selection", 24)
	if err := r.End(); err != nil {
		n.t.Fatal(err)
	}
	th2 := kms.CoreHash(kms.HelloHash(m1), m2.Core)
	keys = n.agree(theirs, mlkemKey, blob, seed, th2)
	m := kms.Redeem{Cookie: m2.Cookie, Ciphertext: keys.Ciphertext()}
	extra := kms.QuoteData(th2)
	var pcrs []int
	for _, pcr := range selection {
		pcrs = append(pcrs, int(pcr))
	}
	if m.Quote, err = n.tpm.Quote(ctx, pcrs, extra[:]); err != nil {
		n.t.Fatal(err)
	}
	m.Seal(keys)
	m3 = m.Encode()
	status, m4 = post(n.Handler(), kms.RedeemPath, m3)
	return status, m4, m3, keys, kms.RedeemHash(th2, m3)
}

func (n *bareNode) agree(theirs [32]byte, mlkemKey, blob, seed []byte, th2 [32]byte) *kms.Keys {
	n.t.Helper()
	key, err := mlkem.NewEncapsulationKey768(mlkemKey)
	if err != nil {
		n.t.Fatal(err)
	}
	z, ciphertext := key.Encapsulate()
	a := kms.Agreed{MLKEM: secret.Own(z), Ciphertext: [kms.MLKEMCipherSize]byte(ciphertext)}
	if err := a.Exchange(n.ours, theirs); err != nil {
		n.t.Fatal(err)
	}
	if a.S, err = n.tpm.Activate(ctx, blob, seed); err != nil {
		n.t.Fatal(err)
	}
	if n.agreed != nil {
		n.agreed(&a)
	}
	keys, err := kms.NewKeys(&a, th2)
	if err != nil {
		n.t.Fatal(err)
	}
	return keys
}

// Each of the three secrets is needed, a point of low order is none, and what
// is refused looks like an answer. The first row is the twin that gets its key.
func TestWhatKeysAreMadeOf(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	ours, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := [32]byte(ours.PublicKey().Bytes())
	zeros := func() secret.Bytes { return secret.Make(32) }
	for _, row := range []struct {
		name   string
		peer   [32]byte
		agreed func(*kms.Agreed)
		want   bool
	}{
		{"all of it", own, nil, true},
		{"without S", own, func(a *kms.Agreed) { a.S = zeros() }, false},
		{"without ML-KEM", own, func(a *kms.Agreed) { a.MLKEM = zeros() }, false},
		{"without X25519", own, func(a *kms.Agreed) { a.X25519 = zeros() }, false},
		{"X25519 share of zeros, whose secret all know", [32]byte{}, func(a *kms.Agreed) { a.X25519 = zeros() }, false},
		{"X25519 share of order 4", [32]byte{1}, func(a *kms.Agreed) { a.X25519 = zeros() }, false},
		{"secret of another ciphertext", own, func(a *kms.Agreed) { a.Ciphertext[0] ^= 1 }, false},
	} {
		n := &bareNode{f, node, ours, row.peer, row.agreed}
		status, m4, _, keys, th3 := n.redeem()
		if status != http.StatusOK || len(m4) != kms.AnswerSize(1) {
			t.Errorf("%s: status %d and %d bytes, want 200 and %d", row.name, status, len(m4), kms.AnswerSize(1))
			continue
		}
		answer, err := kms.ParseAnswer(m4)
		if err != nil {
			t.Fatal(err)
		}
		d, err := keys.OpenDecision(answer, th3)
		if got := err == nil && d.Status == kms.OK; got != row.want {
			t.Errorf("%s: granted = %v (%v), want %v", row.name, got, err, row.want)
		}
	}
	if events := f.events("get"); events != 1 {
		t.Errorf("the log has %d grants, want 1", events)
	}
}

// Shares of another size are no messages, from M1 on: whoever speaks lk1 as
// it was before ML-KEM is told so by a 403, and gets nothing less.
func TestSharesOfOtherSizes(t *testing.T) {
	f := newKMS(t)
	ours, _ := ecdh.X25519().GenerateKey(rand.Reader)
	n := &bareNode{f, newTPM(t), ours, [32]byte(ours.PublicKey().Bytes()), nil}
	m1 := helloOf(t, f)
	_, _, m3, _, _ := n.redeem()
	field := func(n int) []byte {
		var w kms.Writer
		w.Field(make([]byte, n))
		return w.Bytes()
	}
	const x25519 = 3 + 34 // in M1, behind version and nonce
	for _, row := range []struct {
		name, path string
		body       []byte
	}{
		{"X25519 of 31 bytes", kms.ChallengePath, bytes.Join([][]byte{m1[:x25519], field(31), m1[x25519+34:]}, nil)},
		{"X25519 of 33 bytes", kms.ChallengePath, bytes.Join([][]byte{m1[:x25519], field(33), m1[x25519+34:]}, nil)},
		{"no ciphertext: X25519 alone", kms.RedeemPath, m3[2+kms.MLKEMCipherSize:]},
		{"an empty ciphertext", kms.RedeemPath, append(field(0), m3[2+kms.MLKEMCipherSize:]...)},
		{"a ciphertext of ML-KEM-512", kms.RedeemPath, append(field(768), m3[2+kms.MLKEMCipherSize:]...)},
		{"a ciphertext of ML-KEM-1024", kms.RedeemPath, append(field(1568), m3[2+kms.MLKEMCipherSize:]...)},
		{"a ciphertext a byte short", kms.RedeemPath, append(field(kms.MLKEMCipherSize-1), m3[2+kms.MLKEMCipherSize:]...)},
	} {
		if status, body := post(f.Handler(), row.path, row.body); status != http.StatusForbidden || len(body) > 0 {
			t.Errorf("%s: status %d with %d bytes, want 403 with none", row.name, status, len(body))
		}
	}
}

// tcpWindow is what TCP sends before the first acknowledgment, in bytes: ten
// segments (RFC 6928) of Ethernet's size.
const tcpWindow = 10 * 1460

// The largest M1 and M2 need no second round trip, heads of HTTP included.
func TestLargestMessagesFitOneWindow(t *testing.T) {
	const head = 512 // of HTTP, for a host name of 253 bytes
	f := newKMS(t, func(f *fixture) { f.enroll, f.ekRoots = fleet.Cert, &ekcert.Pool{} })
	tpm := newTPM(t)
	hello := kms.Hello{EKPublic: tpm.EKPublic(), EKCert: make([]byte, 4096), AKPublic: tpm.AKPublic(), Operation: kms.Get}
	for i := range kms.MaxVolumes {
		hello.Volumes = append(hello.Volumes, kms.Want{UUID: kms.UUID{byte(i)}})
	}
	for range kms.MaxPins {
		hello.Pins = append(hello.Pins, f.Pins()[0].ID())
	}
	largest := hello.Encode()
	usual := helloOf(t, newKMS(t))
	for _, row := range []struct {
		name string
		kms  *fixture
		m1   []byte
	}{{"usual", newKMS(t), usual}, {"largest", f, largest}} {
		status, m2 := post(row.kms.Handler(), kms.ChallengePath, row.m1)
		if status != http.StatusOK {
			t.Fatalf("%s: status %d", row.name, status)
		}
		t.Logf("%s: M1 has %d bytes, M2 %d, of %d", row.name, len(row.m1), len(m2), tcpWindow)
		if len(row.m1)+head > tcpWindow || len(m2)+head > tcpWindow {
			t.Errorf("%s: M1 has %d bytes and M2 %d: more than one window of %d", row.name, len(row.m1), len(m2), tcpWindow)
		}
	}
}

// A challenge is redeemed with the key that it was given out with, also once
// another is the newest.
func TestChallengeOutlivesItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		f.mustGet(node)
		time.Sleep(10*time.Minute - 10*time.Second) // of a key that lives for 10 minutes
		f.mustGet(forger{TPM: node, quote: func(pcrs []int, extra []byte) (kms.Quote, error) {
			time.Sleep(20 * time.Second)
			return node.Quote(ctx, pcrs, extra)
		}})
	})
}
