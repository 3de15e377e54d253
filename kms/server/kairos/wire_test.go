package kairos_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/kairos/kairostest"
)

// A keeper gives everybody who proves itself one passphrase.
type keeper struct {
	asked atomic.Int64
	proof atomic.Pointer[kairos.Proof]
	err   error
}

func (k *keeper) Work(_ context.Context, f func() error) error { return f() }

func (k *keeper) Release(_ context.Context, p *kairos.Proof) (*kairos.Answer, error) {
	k.asked.Add(1)
	k.proof.Store(p)
	return &kairos.Answer{Passphrase: secret.Own([]byte("the passphrase"))}, k.err
}

func (k *keeper) Deposit(_ context.Context, p *kairos.Proof, _ []byte) error {
	k.asked.Add(1)
	return k.err
}

func start(t testing.TB) (*keeper, *kairostest.Node, *kairostest.Soft) {
	t.Helper()
	k := &keeper{}
	s := httptest.NewServer(kairos.Handler(k, slog.New(slog.DiscardHandler)))
	t.Cleanup(s.Close)
	tpm, err := kairostest.NewSoft()
	if err != nil {
		t.Fatal(err)
	}
	return k, &kairostest.Node{URL: s.URL, TPM: tpm, Want: kairos.Request{Label: "COS_PERSISTENT"}}, tpm
}

// quoteOf reaches into the proof that is about to be sent.
func quoteOf(m map[string]any) (quote map[string]any, pcrs map[string][]byte) {
	q := m["pcr_quote"].(map[string]any)
	return q["quote"].(map[string]any), q["pcrs"].(map[string][]byte)
}

func flip(b []byte, i int) { b[i] ^= 1 }

// Each rule of a proof, switched off once: the keeper is never asked.
func TestProofRules(t *testing.T) {
	k, n, tpm := start(t)
	if r, err := n.Attest(); err != nil || r.Passphrase != "the passphrase" || r.Kind != 1 {
		t.Fatalf("Attest = %+v, %v", r, err)
	}

	k.asked.Store(0)
	for _, row := range []struct {
		name  string
		tpm   func(*kairostest.Soft)
		proof func(map[string]any)
	}{
		{"magic", func(s *kairostest.Soft) { s.Magic++ }, nil},
		{"not a quote", func(s *kairostest.Soft) { s.Kind = 0x8017 }, nil},
		{"a nonce", func(s *kairostest.Soft) { s.Extra = []byte{1} }, nil},
		{"safe is neither yes nor no", func(s *kairostest.Soft) { s.Safe = 2 }, nil},
		{"bank SHA-1", func(s *kairostest.Soft) { s.Selection[5] = 4 }, nil},
		{"a PCR more", func(s *kairostest.Soft) { s.Selection[7] = 0x83 }, nil},
		{"a PCR less", func(s *kairostest.Soft) { s.Selection[7] = 0x80 }, nil},
		{"two banks", func(s *kairostest.Soft) { s.Selection = append(s.Selection, 0, 4, 3, 0, 0, 0); s.Selection[3] = 2 }, nil},
		{"wrong secret", nil, func(m map[string]any) { flip(m["secret"].([]byte), 0) }},
		{"short secret", nil, func(m map[string]any) { m["secret"] = m["secret"].([]byte)[:31] }},
		{"no secret", nil, func(m map[string]any) { delete(m, "secret") }},
		{"signature", nil, func(m map[string]any) { q, _ := quoteOf(m); flip(q["signature"].([]byte), 100) }},
		{"signature scheme", nil, func(m map[string]any) { q, _ := quoteOf(m); q["signature"].([]byte)[1] = 0x16 }},
		{"attested bytes", nil, func(m map[string]any) { q, _ := quoteOf(m); flip(q["quote"].([]byte), 50) }},
		{"version", nil, func(m map[string]any) { q, _ := quoteOf(m); q["version"] = "1.2" }},
		{"another value", nil, func(m map[string]any) { _, p := quoteOf(m); p["11"] = make([]byte, 31) }},
		{"value changed", nil, func(m map[string]any) { _, p := quoteOf(m); p["7"] = append([]byte{1}, p["7"][1:]...) }},
		{"values shifted", nil, func(m map[string]any) { _, p := quoteOf(m); p["0"], p["7"] = append(p["0"], 0), p["7"][:31] }},
		{"a value more", nil, func(m map[string]any) { _, p := quoteOf(m); p["1"] = make([]byte, 32) }},
		{"a value less", nil, func(m map[string]any) { _, p := quoteOf(m); delete(p, "0") }},
		{"no quote", nil, func(m map[string]any) { delete(m, "pcr_quote") }},
		{"key twice", nil, func(m map[string]any) { m["Secret"] = "" }},
	} {
		bent := *tpm
		bent.Selection = append([]byte(nil), tpm.Selection...)
		if row.tpm != nil {
			row.tpm(&bent)
		}
		n.TPM, n.Proof = &bent, row.proof
		malformed := row.name == "key twice" // and so not even answered
		if r, err := n.Attest(); err != nil || r.Passphrase != "" || strings.Contains(r.Error, "proof does not hold") == malformed {
			t.Errorf("%s: Attest = %+v, %v, want an error that the proof does not hold", row.name, r, err)
		}
	}

	if k.asked.Load() != 0 {
		t.Errorf("the keeper was asked %d times", k.asked.Load())
	}
}

// Keys that are not exactly theirs get not even a challenge.
func TestKeyRules(t *testing.T) {
	k, n, tpm := start(t)
	small, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}

	large, err := x509.MarshalPKIXPublicKey(small.Public())
	if err != nil {
		t.Fatal(err)
	}

	public := func(m map[string]any) []byte { return m["ak_params"].(map[string]any)["Public"].([]byte) }
	for _, row := range []struct {
		name  string
		hello func(map[string]any)
	}{
		{"EK of 3072 bits", func(m map[string]any) { m["ek_public"] = large }},
		{"EK with something after", func(m map[string]any) { m["ek_public"] = append(tpm.SPKI(), 0) }},
		{"EK of another exponent", func(m map[string]any) { b := tpm.SPKI(); b[293] = 3; m["ek_public"] = b }},
		{"EK with a short modulus", func(m map[string]any) { b := tpm.SPKI(); b[33] &= 0x7f; m["ek_public"] = b }},
		{"EK that is even", func(m map[string]any) { b := tpm.SPKI(); b[288] &^= 1; m["ek_public"] = b }},
		{"EK as PEM", func(m map[string]any) {
			m["ek_public"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: tpm.SPKI()})
		}},
		{"no EK", func(m map[string]any) { delete(m, "ek_public") }},
		{"AK not restricted", func(m map[string]any) { public(m)[5] = 0x04 }},
		{"AK that decrypts", func(m map[string]any) { public(m)[5] = 0x07 }},
		{"AK that leaves the TPM", func(m map[string]any) { public(m)[7] &^= 0x02 }},
		{"AK with a policy", func(m map[string]any) { public(m)[9] = 1 }},
		{"AK of SHA-1", func(m map[string]any) { public(m)[3] = 4 }},
		{"AK without scheme", func(m map[string]any) { public(m)[13] = 0x10 }},
		{"AK cut", func(m map[string]any) { a := m["ak_params"].(map[string]any); a["Public"] = public(m)[:279] }},
		{"AK of TPM 1.2", func(m map[string]any) { m["ak_params"].(map[string]any)["UseTCSDActivationFormat"] = true }},
		{"no AK", func(m map[string]any) { delete(m, "ak_params") }},
	} {
		n.Hello = row.hello
		if r, err := n.Attest(); err != nil || r != (kairostest.Reply{}) {
			t.Errorf("%s: Attest = %+v, %v, want a closed connection", row.name, r, err)
		}
		if strings.HasPrefix(row.name, "EK") || row.name == "no AK" {
			continue
		}

		n.Hello = func(m map[string]any) {
			bent := map[string]any{"ak_params": m["AK"], "ek_public": m["EK"]}
			row.hello(bent)
			m["AK"], m["EK"] = bent["ak_params"], bent["ek_public"]
		}

		if r, err := n.GetPass(); err != nil || r != (kairostest.Reply{}) {
			t.Errorf("%s: GetPass = %+v, %v, want a closed connection", row.name, r, err)
		}
	}

	if k.asked.Load() != 0 {
		t.Errorf("the keeper was asked %d times", k.asked.Load())
	}
}

// What passes ends the connection; the client asks again. What is final is
// said.
func TestRefusals(t *testing.T) {
	k, n, tpm := start(t)
	for _, row := range []struct {
		err          error
		text, legacy string
	}{
		{&kairos.Refusal{Reason: kairos.Pending}, "", "no volume found with data from request and hash: " + tpm.Hash()},
		{&kairos.Refusal{Reason: kairos.Missing}, "", "no volume found with data from request and hash: " + tpm.Hash()},
		{&kairos.Refusal{Reason: kairos.Quarantined}, "Attestation verification failed: TPM is quarantined", "quarantined: COS_PERSISTENT"},
		{
			&kairos.Refusal{Reason: kairos.NoKey, Detail: "pass-word"}, "Attestation verification failed: passphrase not found in secret at key: pass-word",
			"passphrase not found in secret at key: pass-word",
		},
		{errors.New("the disk is full"), "", ""},
	} {
		k.err = row.err
		if r, err := n.Attest(); err != nil || r.Error != row.text || r.Passphrase != "" {
			t.Errorf("%v: Attest = %+v, %v, want error %q", row.err, r, err, row.text)
		}
		if r, err := n.GetPass(); err != nil || r.Error != row.legacy || r.Passphrase != "" {
			t.Errorf("%v: GetPass = %+v, %v, want error %q", row.err, r, err, row.legacy)
		}
	}
}

// A certificate's key names the node as its PEM does.
func TestLegacyCertificate(t *testing.T) {
	k, n, tpm := start(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, tpm.EK.Public(), tpm.EK)
	if err != nil {
		t.Fatal(err)
	}
	n.Hello = func(m map[string]any) { m["EK"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }
	if r, err := n.GetPass(); err != nil || r.Passphrase != "the passphrase" || k.proof.Load().Hash.String() != tpm.Hash() {
		t.Errorf("GetPass = %+v, %v, want the passphrase of %s", r, err, tpm.Hash())
	}
	n.Hello = func(m map[string]any) { m["EK"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der[1:]}) }
	if r, err := n.GetPass(); err != nil || r != (kairostest.Reply{}) {
		t.Errorf("GetPass with a damaged certificate = %+v, %v, want a closed connection", r, err)
	}
}
