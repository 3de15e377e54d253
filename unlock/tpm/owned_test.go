package tpm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// own sets the owner's password, as an administrator may do at any time.
func own(t *testing.T, raw tpmBus) {
	t.Helper()
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("somebody's")},
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
}

// persistSRK keeps a storage key in NV, as installers do.
func persistSRK(t *testing.T, raw tpmBus, template tpm2.TPMTPublic) {
	t.Helper()
	srk, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: srk.ObjectHandle}.Execute(raw)
	_, err = tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     &tpm2.NamedHandle{Handle: srk.ObjectHandle, Name: srk.Name},
		PersistentHandle: 0x81000001,
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
}

// A bound volume opens although somebody set the owner's password since, if
// the storage key is kept in NV (faults/node.md M7). Without that, or with
// another key there, the code says what is wrong.
func TestOwnerPassword(t *testing.T) {
	for _, row := range []struct {
		name string
		kept *tpm2.TPMTPublic
		code string
	}{
		{"the storage key is kept", &tpm2.ECCSRKTemplate, ""},
		{"another one is", &tpm2.RSASRKTemplate, tpm.CodeAuth},
		{"none is", nil, tpm.CodeAuth},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx := context.Background()
			raw := rawBus(t, tpmtest.Start(t))
			blob, err := identify(t, tpm.New(raw), tpm.Options{EK: tpm.EKP256}).Seal(ctx, secret.Own([]byte("the volume's")))
			if err != nil {
				t.Fatal(err)
			}
			if row.kept != nil {
				persistSRK(t, raw, *row.kept)
			}
			own(t, raw)

			id := identify(t, tpm.New(raw), tpm.Options{EK: tpm.EKP256})
			for _, prepare := range []bool{false, true} {
				if prepare {
					id.PrepareUnseal(ctx)
				}
				s, err := id.Unseal(ctx, blob)
				if got := codeOf(err); got != row.code || err == nil && string(s.Reveal()) != "the volume's" {
					t.Errorf("Unseal, prepared %t = %q, %v, want code %q", prepare, s.Reveal(), err, row.code)
				}
				id.Rest()
			}
		})
	}
}

// Somebody keeps a key of another type where firmware keeps the RSA EK.
func TestPersistentKeyOfAnotherType(t *testing.T) {
	raw := rawBus(t, tpmtest.Start(t))
	persistRSAEK(t, raw, tpm2.ECCEKTemplate)
	identify(t, tpm.New(raw), tpm.Options{EK: tpm.EKRSA2048})
}

// Rest leaves the EK alone in the TPM, and what follows works as before
// (faults/node.md M11).
func TestRest(t *testing.T) {
	ctx := context.Background()
	raw := rawBus(t, tpmtest.Start(t))
	id := identify(t, tpm.New(raw), tpm.Options{})
	if err := id.Prepare(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := id.PrepareUnseal(ctx); err != nil {
		t.Fatal(err)
	}
	if n := handles(t, raw); n != 4 {
		t.Fatalf("%d handles, want EK, AK, storage key and session: the test tests nothing", n)
	}

	id.Rest()
	if n := handles(t, raw); n != 1 {
		t.Errorf("%d handles after Rest, want the EK's", n)
	}
	blob, seed := credential(t, id.EKPublic(), id.AKPublic(), []byte("challenge"))
	if s, err := id.Activate(ctx, blob, seed); err != nil || string(s.Reveal()) != "challenge" {
		t.Errorf("Activate after Rest = %q, %v", s.Reveal(), err)
	}
	if _, err := id.Quote(ctx, []int{11, 15}, []byte("nonce")); err != nil {
		t.Errorf("Quote after Rest: %v", err)
	}
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*tpm.Error](err); ok {
		return e.Code()
	}
	return ""
}
