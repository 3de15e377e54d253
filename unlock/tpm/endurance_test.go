package tpm_test

import (
	"context"
	"crypto"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

type tpmBus = transport.TPM

var wantRoot = []kms.Want{{UUID: rootVolume}}

func clientOf(s *server.Server) *kms.Client { return &kms.Client{Pins: s.Pins()} }

// handles counts what is loaded.
func handles(t *testing.T, raw tpmBus) (n int) {
	t.Helper()
	for _, kind := range []uint32{0x80000000, 0x02000000, 0x03000000} {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: kind, PropertyCount: 100}.Execute(raw)
		if err != nil {
			t.Fatal(err)
		}
		list, err := rsp.CapabilityData.Data.Handles()
		if err != nil {
			t.Fatal(err)
		}
		n += len(list.Handle)
	}
	return n
}

// F16: 200 boots that die without cleaning up, on a TPM without resource
// manager.
func TestOrphansAreFlushed(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	raw := rawBus(t, sim)
	peak := 0
	for i := range 200 {
		id, err := open(t, sim).Identify(ctx, tpm.Options{})
		if err != nil {
			t.Fatalf("boot %d: %v", i, err)
		}

		// An orphaned session as well.
		if _, _, err := tpm2.HMACSession(raw, tpm2.TPMAlgSHA256, 16); err != nil && i == 0 {
			t.Fatal(err)
		}
		blob, seed := credential(t, id.EKPublic(), id.AKPublic(), make([]byte, 32))
		if _, err := id.Activate(ctx, blob, seed); err != nil {
			t.Fatalf("boot %d: %v", i, err)
		}

		peak = max(peak, handles(t, raw))
	}

	if peak > 10 {
		t.Errorf("%d handles at once: they pile up", peak)
	}
}

// Nothing is left behind by one that does clean up, on success or failure.
func TestNoHandleLeaks(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	raw := rawBus(t, sim)
	dev := open(t, sim)
	id, err := dev.Identify(ctx, tpm.Options{Certificate: true})
	if err != nil {
		t.Fatal(err)
	}

	blob, err := id.Seal(ctx, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}

	for range 5 {
		if _, err := id.Unseal(ctx, blob); err != nil {
			t.Fatal(err)
		}
		if _, err := id.Activate(ctx, make([]byte, 60), make([]byte, 68)); code(err) != tpm.CodeCredential {
			t.Errorf("Activate of zeros = %v, want code %s", err, tpm.CodeCredential)
		}
	}

	if err := dev.Extend(ctx, 15, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }); err != nil {
		t.Fatal(err)
	}
	if _, err := id.Unseal(ctx, blob); err == nil {
		t.Fatal("Unseal after the latch succeeded")
	}

	id.Close()
	if _, err := dev.Hash(ctx); err != nil {
		t.Fatal(err)
	}

	if n := handles(t, raw); n != 0 {
		t.Errorf("%d handles are left", n)
	}
}

// A session whose policy fails is not left behind either.
func TestFailedPoliciesLeaveNoSession(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	wire := &bus{TPM: rawBus(t, sim)}
	id := identify(t, tpm.New(wire), tpm.Options{})
	blob, seed := credential(t, id.EKPublic(), id.AKPublic(), make([]byte, 32))
	wire.inject = func(command []byte) []byte {
		if commandCode(command) == tpm2.TPMCCPolicySecret {
			return response(tpm2.TPMRCFailure)
		}
		return nil
	}

	for range 10 {
		if _, err := id.Activate(ctx, blob, seed); code(err) != tpm.CodeFailed {
			t.Fatalf("Activate = %v, want code %s", err, tpm.CodeFailed)
		}
	}

	if n := handles(t, wire.TPM); n != 2 {
		t.Errorf("%d handles, want 2: EK and AK", n)
	}
	wire.inject = nil
	if _, err := id.Activate(ctx, blob, seed); err != nil {
		t.Error(err)
	}
}

func TestAbsentTPM(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir + "/none", dir, "/dev/null/tpm"} {
		if _, err := tpm.Open(path); code(err) != tpm.CodeAbsent {
			t.Errorf("Open(%q) = %v, want code %s", path, err, tpm.CodeAbsent)
		}
	}

	sim := tpmtest.Start(t)
	dev := open(t, sim)
	sim.Stop()
	if _, err := dev.ReadPCR(context.Background(), 7); code(err) != tpm.CodeAbsent {
		t.Errorf("ReadPCR of a TPM that went away = %v, want code %s", err, tpm.CodeAbsent)
	}

	sim.Boot()
	if _, err := dev.ReadPCR(context.Background(), 7); err != nil {
		t.Errorf("ReadPCR of a TPM that came back = %v", err)
	}
}

// The EK is the same at every boot, depends on what is asked for only, and
// a persistent RSA one is used when it is the right key.
func TestIdentityIsStable(t *testing.T) {
	sim := tpmtest.Start(t)
	node := func(o tpm.Options) (kms.NodeID, []string) {
		wire := &bus{TPM: rawBus(t, sim)}
		id, err := tpm.New(wire).Identify(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		sent := wire.commands()
		id.Close()
		return id.NodeID(), sent
	}

	p256, _ := node(tpm.Options{EK: tpm.EKP256})
	rsa2048, created := node(tpm.Options{EK: tpm.EKRSA2048})
	if p256 == rsa2048 {
		t.Fatal("two EKs have one name")
	}

	persistRSAEK(t, rawBus(t, sim), tpm2.RSAEKTemplate)
	sim.Reboot()
	if auto, _ := node(tpm.Options{}); auto != p256 {
		t.Error("a persistent RSA EK changed the node's identity")
	}
	again, found := node(tpm.Options{EK: tpm.EKRSA2048})
	if again != rsa2048 {
		t.Error("the persistent EK is another node")
	}
	if len(found) >= len(created) {
		t.Errorf("with the persistent EK %q, without %q: it saves nothing", found, created)
	}
}

func persistRSAEK(t *testing.T, raw tpmBus, template tpm2.TPMTPublic) {
	t.Helper()
	ek, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template)}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: ek.ObjectHandle}.Execute(raw)
	_, err = tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     &tpm2.NamedHandle{Handle: ek.ObjectHandle, Name: ek.Name},
		PersistentHandle: 0x81010001,
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
}

// What else may be at the handle is left alone.
func TestWrongPersistentKeyIsNotUsed(t *testing.T) {
	sim := tpmtest.Start(t)
	before, err := open(t, sim).Identify(context.Background(), tpm.Options{EK: tpm.EKRSA2048})
	if err != nil {
		t.Fatal(err)
	}
	before.Close()
	persistRSAEK(t, rawBus(t, sim), tpm2.RSASRKTemplate)
	after := identify(t, open(t, sim), tpm.Options{EK: tpm.EKRSA2048})
	if after.NodeID() != before.NodeID() {
		t.Error("a key of another template was taken for the EK")
	}
}
