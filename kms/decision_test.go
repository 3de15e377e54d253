package kms_test

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/mlkem"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// A scripted KMS holds the pinned key and answers what a test wants.
type scripted struct {
	key       ed25519.PrivateKey
	ephemeral *ecdh.PrivateKey
	kem       *mlkem.DecapsulationKey768
	altered   func([]byte) []byte // what becomes of the core, before it is signed
	th1, th2  [32]byte
	peer      [32]byte
	decide    func() *kms.Decision
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path == kms.ChallengePath {
		w.Write(s.challenge(body))
	} else {
		w.Write(s.redeem(body))
	}
}

func (s *scripted) challenge(m1 []byte) []byte {
	hello, err := kms.ParseHello(m1)
	if err != nil {
		return nil
	}
	s.ephemeral, _ = ecdh.X25519().GenerateKey(rand.Reader)
	c := core
	c.Ephemeral = [32]byte(s.ephemeral.PublicKey().Bytes())
	m2 := kms.Challenge{Core: c.Encode(), Cookie: []byte("cookie")}
	if s.altered != nil {
		m2.Core = s.altered(m2.Core)
	}
	s.th1, s.peer = kms.HelloHash(m1), hello.Ephemeral
	s.th2 = kms.CoreHash(s.th1, m2.Core)
	m2.Signature = ed25519.Sign(s.key, m2.Signed(s.th2))
	return m2.Encode()
}

func (s *scripted) redeem(m3 []byte) []byte {
	m, err := kms.ParseRedeem(m3)
	if err != nil {
		return nil
	}
	z, err := s.kem.Decapsulate(m.Ciphertext[:])
	if err != nil {
		return nil
	}
	a := kms.Agreed{S: secret.Own(fill(13, 32)), MLKEM: secret.Own(z), Ciphertext: m.Ciphertext}
	if err := a.Exchange(s.ephemeral, s.peer); err != nil {
		return nil
	}
	keys, err := kms.NewKeys(&a, s.th2)
	if err != nil {
		return nil
	}
	m4, err := keys.SealDecision(s.decide(), 1, kms.RedeemHash(s.th2, m3))
	if err != nil {
		return nil
	}
	return m4.Encode()
}

// plain is a TPM that opens every challenge to the same secret.
type plain struct{ untouchable }

func (plain) Activate(context.Context, []byte, []byte) (secret.Bytes, error) {
	return secret.Own(fill(13, 32)), nil
}

func (plain) Quote(context.Context, []int, []byte) (kms.Quote, error) { return quote, nil }

// A decision becomes a grant or its code; one that answers for other
// volumes, or is of no known status, is believed from nobody.
func TestDecisions(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	s := &scripted{key: private, kem: kemOf(26)}
	web := httptest.NewServer(s)
	defer web.Close()
	c := &kms.Client{Pins: []kms.Pin{{1}, kms.Pin(public)}}
	granted := kms.Granted{UUID: one[0].UUID, Status: kms.OK, Active: kms.Material{Kind: kms.Static, Secret: secret.Own([]byte("key"))}}
	other := granted
	other.UUID = kms.UUID{9}
	empty := granted
	empty.Active.Secret = secret.Bytes{}

	for _, row := range []struct {
		name     string
		decision kms.Decision
		code     string
	}{
		{"granted", kms.Decision{Status: kms.OK, Volumes: []kms.Granted{granted}}, ""},
		{"pending", kms.Decision{Status: kms.Pending}, "pending"},
		{"refused, with volumes", kms.Decision{Status: kms.Refused, Volumes: []kms.Granted{granted}}, "refused"},
		{"another volume", kms.Decision{Status: kms.OK, Volumes: []kms.Granted{other}}, kms.CodeBadAnswer},
		{"no volume", kms.Decision{Status: kms.OK}, kms.CodeBadAnswer},
		{"status 0", kms.Decision{Volumes: []kms.Granted{granted}}, kms.CodeNoGrant},
		{"status 99", kms.Decision{Status: 99}, kms.CodeNoGrant},
		{"a kind without a secret", kms.Decision{Status: kms.OK, Volumes: []kms.Granted{empty}}, kms.CodeNoGrant},
	} {
		s.decide = func() *kms.Decision { return &row.decision }
		g, err := c.Get(context.Background(), web.URL, plain{untouchable{t}}, one)
		if code(err) != row.code {
			t.Errorf("%s: Get = %v, want code %q", row.name, err, row.code)
		}
		if (err == nil) != (g != nil) {
			t.Errorf("%s: a grant with an error, or neither", row.name)
		}
	}
}
