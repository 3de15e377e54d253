package tpm_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// prepared is an identity with a session ready, and the wire that it
// stands on.
func prepared(t *testing.T) (*tpm.Identity, *bus) {
	t.Helper()
	wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
	id := identify(t, tpm.New(wire), tpm.Options{})
	for range 2 { // a second one has nothing to do
		if err := id.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return id, wire
}

// What a prepared TPM still does for an answer is the activation alone.
func TestPrepare(t *testing.T) {
	ctx := context.Background()
	id, wire := prepared(t)
	want := bytes.Repeat([]byte{7}, 32)
	blob, seed := credential(t, id.EKPublic(), id.AKPublic(), want)
	for _, commands := range [][]string{
		{"ActivateCredential"},
		{"StartAuthSession", "PolicySecret", "ActivateCredential"}, // a session is good once
	} {
		wire.sent = nil
		got, err := id.Activate(ctx, blob, seed)
		if err != nil || !bytes.Equal(got.Reveal(), want) {
			t.Fatalf("Activate = %x, %v, want %x", got.Reveal(), err, want)
		}
		if got := wire.commands(); !slices.Equal(got, commands) {
			t.Errorf("commands %q, want %q", got, commands)
		}
	}

	if n := handles(t, wire.TPM); n != 2 {
		t.Errorf("%d handles, want 2: EK and AK", n)
	}
}

// A prepared session that is gone by the time it is needed costs a new one.
func TestPreparedSessionTakenAway(t *testing.T) {
	ctx := context.Background()
	id, wire := prepared(t)
	list, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(tpm2.TPMHTLoadedSession) << 24, PropertyCount: 9}.Execute(wire.TPM)
	if err != nil {
		t.Fatal(err)
	}

	sessions, err := list.CapabilityData.Data.Handles()
	if err != nil || len(sessions.Handle) != 1 {
		t.Fatalf("sessions %v, %v, want one", sessions, err)
	}

	if _, err := (tpm2.FlushContext{FlushHandle: sessions.Handle[0]}).Execute(wire.TPM); err != nil {
		t.Fatal(err)
	}
	blob, seed := credential(t, id.EKPublic(), id.AKPublic(), make([]byte, 32))
	if _, err := id.Activate(ctx, blob, seed); err != nil {
		t.Errorf("Activate = %v, want it to start anew", err)
	}

	if n := handles(t, wire.TPM); n != 2 {
		t.Errorf("%d handles, want 2: EK and AK", n)
	}
}

// A challenge that is not for this TPM is refused once, and leaves nothing.
func TestPreparedAndForeignChallenge(t *testing.T) {
	id, wire := prepared(t)
	wire.sent = nil
	if _, err := id.Activate(context.Background(), make([]byte, 60), make([]byte, 68)); code(err) != tpm.CodeCredential {
		t.Errorf("Activate of zeros = %v, want code %s", err, tpm.CodeCredential)
	}
	if n := slices.Index(wire.commands(), "StartAuthSession"); n >= 0 {
		t.Errorf("commands %q: it was tried again", wire.commands())
	}
	if n := handles(t, wire.TPM); n != 2 {
		t.Errorf("%d handles, want 2: EK and AK", n)
	}
}

// The storage key is loaded ahead, and then an unsealing has no primary to
// create. Other sealed secrets, and another activation, work as ever.
func TestPrepareUnseal(t *testing.T) {
	ctx := context.Background()
	id, wire := prepared(t)
	blob, err := id.Seal(ctx, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}

	id.Close()
	id = identify(t, tpm.New(wire), tpm.Options{})
	for range 2 {
		if err := id.PrepareUnseal(ctx); err != nil {
			t.Fatal(err)
		}
	}

	if n := handles(t, wire.TPM); n != 3 {
		t.Errorf("%d handles, want the three that any TPM holds", n)
	}
	credentialBlob, seed := credential(t, id.EKPublic(), id.AKPublic(), make([]byte, 32))
	if _, err := id.Activate(ctx, credentialBlob, seed); err != nil {
		t.Fatal(err)
	}

	wire.sent = nil
	for range 2 {
		if s, err := id.Unseal(ctx, blob); err != nil || s.Len() != 32 {
			t.Fatalf("Unseal = %d bytes, %v", s.Len(), err)
		}
	}

	if slices.Contains(wire.commands(), "CreatePrimary") {
		t.Errorf("commands %q: a primary was created", wire.commands())
	}
	if _, err := id.Activate(ctx, credentialBlob, seed); err != nil {
		t.Error(err)
	}
}

// A session that was never needed goes with the identity, and after that
// none is prepared.
func TestCloseFlushesPrepared(t *testing.T) {
	id, wire := prepared(t)
	id.Close()
	if n := handles(t, wire.TPM); n != 0 {
		t.Errorf("%d handles are left", n)
	}
	if err := id.Prepare(context.Background()); err != nil {
		t.Error(err)
	}
	if n := handles(t, wire.TPM); n != 0 {
		t.Errorf("%d handles after Prepare of a closed identity", n)
	}
}

// A TPM that cannot prepare is asked again when it matters.
func TestPrepareFails(t *testing.T) {
	wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
	id := identify(t, tpm.New(wire), tpm.Options{})
	for _, of := range []tpm2.TPMCC{tpm2.TPMCCStartAuthSession, tpm2.TPMCCPolicySecret} {
		wire.inject = func(command []byte) []byte {
			if commandCode(command) == of {
				return response(tpm2.TPMRCFailure)
			}
			return nil
		}
		if err := id.Prepare(context.Background()); code(err) != tpm.CodeFailed {
			t.Errorf("Prepare = %v, want code %s", err, tpm.CodeFailed)
		}
		if n := handles(t, wire.TPM); n != 2 {
			t.Errorf("%d handles, want 2: EK and AK", n)
		}
	}

	wire.inject = nil
	blob, seed := credential(t, id.EKPublic(), id.AKPublic(), make([]byte, 32))
	if _, err := id.Activate(context.Background(), blob, seed); err != nil {
		t.Error(err)
	}
}
