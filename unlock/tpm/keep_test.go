package tpm_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// keep has a TPM keep its keys and wants that many written.
func keep(t *testing.T, raw tpmBus, want int) {
	t.Helper()
	if wrote, err := tpm.New(raw).Keep(context.Background()); err != nil || wrote != want {
		t.Fatalf("Keep = %d, %v, want %d keys written", wrote, err, want)
	}
}

// persistent lists what is kept where Keep puts keys.
func persistent(t *testing.T, raw tpmBus) (kept []tpm2.TPMHandle) {
	t.Helper()
	for _, h := range []tpm2.TPMHandle{tpm.KeptEK, tpm.KeptAK} {
		if _, err := (tpm2.ReadPublic{ObjectHandle: h}).Execute(raw); err == nil {
			kept = append(kept, h)
		}
	}
	return kept
}

// A machine whose TPM keeps its keys is the same for its key server, and its
// boot sends ten commands at the most: two extends come from the latch, twice.
func TestKeptKeys(t *testing.T) {
	ctx := context.Background()
	wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
	s, url := keyServer(t)
	made := identify(t, tpm.New(wire), tpm.Options{})
	getApproved(t, s, url, made)
	made.Close()
	keep(t, wire, 2)
	keep(t, wire, 0) // they are there

	wire.sent = nil
	dev := tpm.New(wire)
	id, err := dev.Identify(ctx, tpm.Options{Kept: true})
	if err != nil || id.NotKept() != nil {
		t.Fatalf("Identify = %v, kept: %v", err, id.NotKept())
	}
	if id.NodeID() != made.NodeID() || !slices.Equal(id.AKPublic(), made.AKPublic()) {
		t.Error("the kept keys are not those that are made")
	}
	id.Know([]kms.PCR{{Index: 7}, {Index: 11}, {Index: 12}, {Index: 15}})
	if err := id.Prepare(ctx, []int{15}); err != nil {
		t.Fatal(err)
	}
	getOnce(t, s, url, id)
	id.Close()
	want := []string{"ReadPublic", "ReadPublic", "StartAuthSession", "PolicySecret", "ActivateCredential", "Quote"}
	if got := wire.commands(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if n := handles(t, wire.TPM); n != 0 {
		t.Errorf("%d handles are left", n)
	}

	// A sealed secret, and the machine that waits.
	again := identify(t, dev, tpm.Options{Kept: true})
	blob, err := again.Seal(ctx, secret.Own([]byte("sealed")))
	if err != nil {
		t.Fatal(err)
	}
	again.Rest()
	if got, err := again.Unseal(ctx, blob); err != nil || string(got.Reveal()) != "sealed" {
		t.Errorf("Unseal = %q, %v", got.Reveal(), err)
	}
	getOnce(t, s, url, again)

	wire.sent = nil
	if err := again.Doubt(ctx); err != nil {
		t.Errorf("Doubt of the TPM's own keys = %v", err)
	}
	again.Close()
	if removed, err := dev.Forget(ctx); err != nil || removed != 2 || persistent(t, wire) != nil {
		t.Errorf("Forget = %d, %v, and %#x are left, want 2 removed", removed, err, persistent(t, wire))
	}
	if removed, err := dev.Forget(ctx); err != nil || removed != 0 {
		t.Errorf("Forget of nothing = %d, %v", removed, err)
	}
}

// Without kept keys, and with others', a machine makes its own and says so.
func TestNotKept(t *testing.T) {
	ctx := context.Background()
	other := tpm2.ECCEKTemplate // a key of the same kind, from another unique field
	other.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)}, Y: tpm2.TPM2BECCParameter{Buffer: append(make([]byte, 31), 1)},
	})
	for _, row := range []struct {
		name      string
		hierarchy tpm2.TPMHandle
		template  *tpm2.TPMTPublic
		says      string
	}{
		{"nothing", 0, nil, "the TPM keeps none there"},
		{"a storage key", tpm2.TPMRHOwner, &tpm2.ECCSRKTemplate, "somebody keeps another key there"},
		{"an RSA key", tpm2.TPMRHEndorsement, &tpm2.RSAEKTemplate, "somebody keeps another key there"},
		{"an EK of the owner's", tpm2.TPMRHOwner, &tpm2.ECCEKTemplate, "somebody keeps another key there"},
		{"another EK", tpm2.TPMRHEndorsement, &other, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := rawBus(t, tpmtest.Start(t))
			own := identify(t, tpm.New(raw), tpm.Options{}).NodeID()
			if row.template != nil {
				k, err := tpm2.CreatePrimary{PrimaryHandle: row.hierarchy, InPublic: tpm2.New2B(*row.template)}.Execute(raw)
				if err != nil {
					t.Fatal(err)
				}
				persist(t, raw, k.ObjectHandle, k.Name, tpm.KeptEK)
				if _, err := tpm.New(raw).Keep(ctx); code(err) != tpm.CodeUnsupported || !strings.Contains(err.Error(), "left as it is") {
					t.Errorf("Keep = %v, want that another key is there", err)
				}
				if _, err := tpm.New(raw).Forget(ctx); code(err) != tpm.CodeUnsupported {
					t.Errorf("Forget = %v, want that another key is there", err)
				}
				if kept := persistent(t, raw); !slices.Equal(kept, []tpm2.TPMHandle{tpm.KeptEK}) {
					t.Fatalf("%#x are kept, want the other's alone", kept)
				}
			}
			if row.says == "" { // and an AK that goes with it
				raw := &bus{TPM: raw}
				ak := identify(t, tpm.New(raw), tpm.Options{})
				persistAK(t, raw, ak.AKPublic())
			}
			id := identify(t, tpm.New(raw), tpm.Options{Kept: true})
			if err := id.NotKept(); (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
				t.Errorf("NotKept = %v, want %q", err, row.says)
			}
			if row.says == "" {
				if id.NodeID() == own {
					t.Fatal("the other EK is not taken: this row shows nothing")
				}
				if err := id.Doubt(ctx); code(err) != tpm.CodeFailed {
					t.Errorf("Doubt of another's EK = %v", err)
				}
			}
			if id.NodeID() != own {
				t.Error("the machine is another one than before")
			}
			blob, seed := credential(t, id.EKPublic(), id.AKPublic(), make([]byte, 32))
			if _, err := id.Activate(ctx, blob, seed); err != nil {
				t.Error(err)
			}
		})
	}
}

// persistAK keeps the attestation key: it is found by its public area.
func persistAK(t *testing.T, raw tpmBus, public []byte) {
	t.Helper()
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(tpm2.TPMHTTransient) << 24, PropertyCount: 9}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range list.Handle {
		read, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(raw)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(read.OutPublic.Bytes(), public) {
			persist(t, raw, h, read.Name, tpm.KeptAK)
			return
		}
	}
	t.Fatal("the AK is not loaded")
}

// What keeps a TPM from keeping keys is said, and nothing is left half done.
func TestKeepFails(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name string
		nth  int // EvictControl that fails
		rc   tpm2.TPMRC
		code string
	}{
		{"no room for any", 1, tpm2.TPMRCNVSpace, tpm.CodeUnsupported},
		{"room for one", 2, tpm2.TPMRCNVSpace, tpm.CodeUnsupported},
		{"an owner with a password", 1, tpm2.TPMRCBadAuth + 0x900, tpm.CodeAuth},
	} {
		t.Run(row.name, func(t *testing.T) {
			wire, n := &bus{TPM: rawBus(t, tpmtest.Start(t))}, 0
			wire.inject = func(command []byte) []byte {
				if commandCode(command) == tpm2.TPMCCEvictControl {
					if n++; n == row.nth {
						return answer(row.rc, nil)
					}
				}
				return nil
			}
			wrote, err := tpm.New(wire).Keep(ctx)
			if code(err) != row.code || wrote != 0 || persistent(t, wire) != nil || handles(t, wire.TPM) != 0 {
				t.Errorf("Keep = %d, %v, with %#x kept and %d handles, want code %s and nothing", wrote, err, persistent(t, wire), handles(t, wire.TPM), row.code)
			}
			keep(t, wire, 2)
		})
	}
}

// A power cut between the two leaves one; whoever keeps again completes it. An
// owner who sets a password later changes nothing, and TPM2_Clear takes both.
func TestKeptKeysAndTheirOwner(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	raw := rawBus(t, sim)
	keep(t, raw, 2)
	read, err := tpm2.ReadPublic{ObjectHandle: tpm.KeptAK}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.EvictControl{
		Auth:         tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle: &tpm2.NamedHandle{Handle: tpm.KeptAK, Name: read.Name}, PersistentHandle: tpm.KeptAK,
	}).Execute(raw); err != nil {
		t.Fatal(err)
	}
	if id := identify(t, tpm.New(raw), tpm.Options{Kept: true}); id.NotKept() == nil {
		t.Error("the EK is taken without the AK")
	}
	keep(t, raw, 1)

	own(t, raw)
	if id := identify(t, tpm.New(raw), tpm.Options{Kept: true}); id.NotKept() != nil {
		t.Errorf("with a password of the owner: %v", id.NotKept())
	}
	if _, err := tpm.New(raw).Forget(ctx); code(err) != tpm.CodeAuth {
		t.Errorf("Forget = %v, want code %s", err, tpm.CodeAuth)
	}

	sim.Reboot()
	raw = rawBus(t, sim)
	if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(raw); err != nil {
		t.Fatal(err)
	}
	if id := identify(t, tpm.New(raw), tpm.Options{Kept: true}); id.NotKept() == nil || persistent(t, raw) != nil {
		t.Error("after TPM2_Clear the keys are there")
	}
}
