package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
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
		if err := id.Prepare(context.Background(), nil); err != nil {
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
	if err := id.Prepare(context.Background(), nil); err != nil {
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
		if err := id.Prepare(context.Background(), nil); code(err) != tpm.CodeFailed {
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

// PCRs that Prepare read are those of a quote only as long as they are true,
// and only if they are all that the quote is of.
func TestPreparedPCRs(t *testing.T) {
	ctx := context.Background()
	wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
	dev := tpm.New(wire)
	id := identify(t, dev, tpm.Options{})
	if err := id.Prepare(ctx, []int{7, 11, 15}); err != nil {
		t.Fatal(err)
	}
	quote := func(pcrs []int, want ...string) {
		t.Helper()
		wire.sent = nil
		q, err := id.Quote(ctx, pcrs, []byte("nonce"))
		if err != nil {
			t.Fatal(err)
		}
		if got := wire.commands(); !slices.Equal(got, want) {
			t.Errorf("a quote of %v sends %q, want %q", pcrs, got, want)
		}
		for _, p := range q.PCRs {
			if value, err := dev.ReadPCR(ctx, p.Index); err != nil || value != p.Value {
				t.Errorf("PCR %d of the quote is %x, want %x, %v", p.Index, p.Value, value, err)
			}
		}
		if len(q.PCRs) != len(pcrs) {
			t.Errorf("a quote of %v has %d values", pcrs, len(q.PCRs))
		}
	}

	quote([]int{7, 15}, "Quote")
	quote([]int{7, 12, 15}, "Quote", "PCR_Read")
	if err := dev.Extend(ctx, 11, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }); err != nil {
		t.Fatal(err)
	}
	quote([]int{7, 11}, "Quote", "PCR_Read")
	quote([]int{7, 15}, "Quote")
}

// What EKAuto takes depends on the curves that the TPM lists alone: one that
// has P-256 and fails is asked again, and its node is never another one.
func TestChosenEK(t *testing.T) {
	list := func(curves ...tpm2.TPMECCCurve) []byte {
		capability := tpm2.TPMSCapabilityData{
			Capability: tpm2.TPMCapECCCurves, Data: tpm2.NewTPMUCapabilities(tpm2.TPMCapECCCurves, &tpm2.TPMLECCCurve{ECCCurves: curves}),
		}
		return answer(tpm2.TPMRCSuccess, append([]byte{0}, tpm2.Marshal(capability)...))
	}
	for _, row := range []struct {
		name   string
		fails  tpm2.TPMRC // of the P-256 EK
		listed []byte
		want   []string
		code   string
	}{
		{"RSA only", tpm2.TPMRCCurve + 0x240, list(), []string{"CreatePrimary", "GetCapability", "ReadPublic", "CreatePrimary", "CreatePrimary"}, ""},
		{"another curve only", tpm2.TPMRCCurve + 0x240, list(tpm2.TPMECCNistP384), []string{"CreatePrimary", "GetCapability", "ReadPublic", "CreatePrimary"}, tpm.CodeLockout},
		{"no list", tpm2.TPMRCValue + 0x240, answer(tpm2.TPMRCValue+0x140, nil), []string{"CreatePrimary", "GetCapability", "ReadPublic", "CreatePrimary"}, tpm.CodeLockout},
		{"P-256, which fails now", tpm2.TPMRCFailure, list(tpm2.TPMECCNistP256), []string{"CreatePrimary", "GetCapability"}, tpm.CodeFailed},
		{"the list fails, too", tpm2.TPMRCFailure, answer(tpm2.TPMRCFailure, nil), []string{"CreatePrimary", "GetCapability"}, tpm.CodeFailed},
		{"a password", tpm2.TPMRCBadAuth + 0x900, list(), []string{"CreatePrimary"}, tpm.CodeAuth},
	} {
		t.Run(row.name, func(t *testing.T) {
			wire, made := &bus{TPM: rawBus(t, tpmtest.Start(t))}, 0
			wire.inject = func(command []byte) []byte {
				switch commandCode(command) {
				case tpm2.TPMCCGetCapability:
					return row.listed
				case tpm2.TPMCCCreatePrimary:
					if made++; made == 1 {
						return answer(row.fails, nil)
					}
					if row.code == tpm.CodeLockout { // an RSA key takes seconds: one row waits for it
						return answer(tpm2.TPMRCLockout, nil)
					}
				}
				return nil
			}
			id, err := tpm.New(wire).Identify(context.Background(), tpm.Options{})
			if (row.code == "") != (err == nil) || err != nil && code(err) != row.code {
				t.Errorf("Identify = %v, want code %q", err, row.code)
			}
			if got := wire.commands(); !slices.Equal(got, row.want) {
				t.Errorf("sent %q, want %q", got, row.want)
			}
			if err == nil && len(id.EKPublic()) < 256 {
				t.Error("the EK is not RSA-2048")
			}
		})
	}
}

// answer is a reply.
func answer(rc tpm2.TPMRC, body []byte) []byte {
	reply := binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMSTNoSessions))
	reply = binary.BigEndian.AppendUint32(reply, uint32(10+len(body)))
	return append(binary.BigEndian.AppendUint32(reply, uint32(rc)), body...)
}
