package tpm_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// TestBind: what is bound opens again, under the storage root key in NV if
// there is one, in the state that it was bound to.
func TestBind(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		kept   *tpm2.TPMTPublic
		policy []tpm.Policy
	}{
		{"nothing asked for, no key in NV", nil, nil},
		{"PCRs, no key in NV", nil, []tpm.Policy{tpm.PCRs{Bank: crypto.SHA256, PCRs: []int{0, 7}}}},
		{"PCRs, a key in NV", &tpm2.ECCSRKTemplate, []tpm.Policy{pcr7}},
		{"PCRs, a key in NV that is subject to the lockout", new(templates[tpm.PlainP256]), []tpm.Policy{pcr7}},
		{"signed and PCRs, a key on RSA in NV", &tpm2.RSASRKTemplate, []tpm.Policy{signed(key, key, 0), pcr7}},
	} {
		t.Run(row.name, func(t *testing.T) {
			wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
			if row.kept != nil {
				persistSRK(t, wire, *row.kept)
			}
			dev := tpm.New(wire)
			extendPCR(t, dev, 7)
			id := identify(t, dev, tpm.Options{})
			bound, err := dev.Bind(t.Context(), secret.Own([]byte("canary of some bytes")), row.policy)
			if err != nil {
				t.Fatal(err)
			}
			o := bound[0]
			if twice := row.kept == nil || !row.kept.ObjectAttributes.NoDA; twice != (len(bound) == 2) {
				t.Errorf("it was sealed %d times", len(bound))
			}
			if kept := o.Parent.Handle == tpm.PersistentSRK; kept != (row.kept != nil) || len(o.Parent.Public) == 0 || len(o.Parent.Name) != 34 {
				t.Errorf("parent = %+v", o.Parent)
			}
			for _, o := range bound {
				got, err := dev.Unseal(t.Context(), o)
				if err != nil || string(got.Reveal()) != "canary of some bytes" || wire.saw([]byte("canary")) {
					t.Errorf("Unseal = %q, %v; seen on the bus: %t", got.Reveal(), err, wire.saw([]byte("canary")))
				}
			}
			id.Close()
			if n := handles(t, wire); n != 0 {
				t.Errorf("%d handles are left", n)
			}
			extendPCR(t, dev, 7)
			for _, o := range bound {
				if _, err := dev.Unseal(t.Context(), o); len(row.policy) > 0 && codeOf(err) != tpm.CodeSealPolicy {
					t.Errorf("Unseal in another state = %v", err)
				}
			}
		})
	}
	dev := tpm.New(rawBus(t, tpmtest.Start(t)))
	for _, p := range []tpm.Policy{pcrs01, tpm.PCRs{Bank: crypto.SHA256, PCRs: []int{24}}} {
		if _, err := dev.Bind(t.Context(), secret.Own([]byte("x")), []tpm.Policy{p}); codeOf(err) != tpm.CodeUnsupported {
			t.Errorf("Bind to %v = %v", p, err)
		}
	}
}
