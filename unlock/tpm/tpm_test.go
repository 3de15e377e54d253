package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

func open(t testing.TB, s *tpmtest.Simulator) *tpm.TPM {
	t.Helper()
	dev, err := tpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

func identify(t testing.TB, dev *tpm.TPM, o tpm.Options) *tpm.Identity {
	t.Helper()
	id, err := dev.Identify(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(id.Close)
	return id
}

// credential is the KMS' half of an activation.
func credential(t testing.TB, ek, ak, s []byte) (blob, seed []byte) {
	t.Helper()
	ekPub, err := tpm2.Unmarshal[tpm2.TPMTPublic](ek)
	if err != nil {
		t.Fatal(err)
	}

	akPub, err := tpm2.Unmarshal[tpm2.TPMTPublic](ak)
	if err != nil {
		t.Fatal(err)
	}

	name, err := tpm2.ObjectName(akPub)
	if err != nil {
		t.Fatal(err)
	}

	kem, err := tpm2.ImportEncapsulationKey(ekPub)
	if err != nil {
		t.Fatal(err)
	}

	blob, seed, err = tpm2.CreateCredential(rand.Reader, kem, name.Buffer, s)
	if err != nil {
		t.Fatal(err)
	}
	return blob, seed
}

func TestActivateOpensOwnChallenge(t *testing.T) {
	for _, row := range []struct {
		name string
		ek   tpm.EK
	}{{"P-256", tpm.EKP256}, {"RSA-2048", tpm.EKRSA2048}, {"what the TPM lists", tpm.EKAuto}} {
		t.Run(row.name, func(t *testing.T) {
			id := identify(t, open(t, tpmtest.Start(t)), tpm.Options{EK: row.ek})
			want := secret.Random(32)
			blob, seed := credential(t, id.EKPublic(), id.AKPublic(), want.Reveal())
			got, err := id.Activate(context.Background(), blob, seed)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(want) {
				t.Error("Activate gave another secret")
			}
			blob[len(blob)-1] ^= 1
			if _, err := id.Activate(context.Background(), blob, seed); code(err) != tpm.CodeCredential {
				t.Errorf("Activate of an altered credential = %v, want code %s", err, tpm.CodeCredential)
			}
		})
	}
}

func TestSealedUntilLatch(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	dev := open(t, sim)
	id := identify(t, dev, tpm.Options{})
	want := secret.Random(32)
	blob, err := id.Seal(ctx, want)
	if err != nil {
		t.Fatal(err)
	}

	got, err := id.Unseal(ctx, blob)
	if err != nil {
		t.Fatal(err)
	}

	if !got.Equal(want) {
		t.Error("Unseal gave another secret")
	}
	if err := dev.Extend(ctx, 15, func(h crypto.Hash) []byte { return bytes.Repeat([]byte{1}, h.Size()) }); err != nil {
		t.Fatal(err)
	}

	if _, err := id.Unseal(ctx, blob); code(err) != tpm.CodeSealPolicy {
		t.Errorf("Unseal after the latch = %v, want code %s", err, tpm.CodeSealPolicy)
	}
	other := identify(t, open(t, tpmtest.Start(t)), tpm.Options{})
	if _, err := other.Unseal(ctx, blob); code(err) != tpm.CodeSealForeign {
		t.Errorf("Unseal by another TPM = %v, want code %s", err, tpm.CodeSealForeign)
	}
}

func code(err error) string {
	if c, ok := err.(interface{ Code() string }); ok {
		return c.Code()
	}
	return ""
}
