package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/kms/softtpm"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// C1: what a recorder on the bus sees of an activation, a sealing and an
// unsealing.
func TestBusShowsNoSecret(t *testing.T) {
	ctx := context.Background()
	wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
	id := identify(t, tpm.New(wire), tpm.Options{})
	canary := secret.Own([]byte("canary 0123456789 canary 0123456"))
	blob, seed := credential(t, id.EKPublic(), id.AKPublic(), canary.Reveal())
	if got, err := id.Activate(ctx, blob, seed); err != nil || !got.Equal(canary) {
		t.Fatalf("Activate = %v", err)
	}

	sealed, err := id.Seal(ctx, canary)
	if err != nil {
		t.Fatal(err)
	}

	if got, err := id.Unseal(ctx, sealed); err != nil || !got.Equal(canary) {
		t.Fatalf("Unseal = %v", err)
	}
	if wire.saw(canary.Reveal()) {
		t.Error("the secret crossed the bus in clear")
	}

	for _, command := range wire.sent {
		if commandCode(command) == tpm2.TPMCCStartAuthSession && tpm2.TPMHandle(binary.BigEndian.Uint32(command[10:])) == tpm2.TPMRHNull {
			t.Error("a session is not salted: its key is known to who sees the bus")
		}
	}

	id.Close()

	// The twin: without an encrypting session the recorder sees it.
	srk, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(wire)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: srk.ObjectHandle}.Execute(wire)
	if _, err := plainSeal(srk, canary).Execute(wire); err != nil {
		t.Fatal(err)
	}

	if !wire.saw(canary.Reveal()) {
		t.Error("the recorder does not see a secret sealed without a session")
	}
}

func (b *bus) saw(what []byte) bool {
	for _, part := range append(append([][]byte{}, b.sent...), b.replies...) {
		if bytes.Contains(part, what) {
			return true
		}
	}
	return false
}

func plainSeal(srk *tpm2.CreatePrimaryResponse, s secret.Bytes) tpm2.Create {
	return tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: srk.ObjectHandle, Name: srk.Name, Auth: tpm2.PasswordAuth(nil)},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: s.Reveal()}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true},
		}),
	}
}

// C1: an interposer that swaps the EK for its own, so as to read sessions
// salted to it, is another node, and gets nothing from the KMS.
func TestSwappedEKIsAnotherNode(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	s, url := keyServer(t)
	honest := identify(t, open(t, sim), tpm.Options{})
	getApproved(t, s, url, honest)
	honest.Close()

	theirs, err := softtpm.New()
	if err != nil {
		t.Fatal(err)
	}

	point := theirs.EKPublic()[len(theirs.EKPublic())-68:]
	wire := &bus{TPM: rawBus(t, sim)}
	wire.change = func(command, reply []byte) []byte {
		true_ := honest.EKPublic()
		at := bytes.Index(reply, true_[len(true_)-68:])
		if commandCode(command) == tpm2.TPMCCCreatePrimary && at >= 0 {
			copy(reply[at:], point)
		}
		return reply
	}

	id := identify(t, tpm.New(wire), tpm.Options{})
	if id.NodeID() != theirs.NodeID() {
		t.Fatal("the interposer did not swap the EK")
	}

	g, err := clientOf(s).Get(ctx, url, id, wantRoot)
	if err == nil {
		t.Errorf("an interposer got %+v", g)
	}

	// Even if it opens the challenge itself, it is a stranger.
	if _, err := clientOf(s).Get(ctx, url, theirs, wantRoot); code(err) != "pending" {
		t.Errorf("Get as the interposer = %v, want code pending", err)
	}
}

// An altered reply of the TPM is noticed by the session's HMAC.
func TestAlteredReplyIsNoticed(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name string
		of   tpm2.TPMCC
	}{{"activation", tpm2.TPMCCActivateCredential}, {"unsealing", tpm2.TPMCCUnseal}} {
		t.Run(row.name, func(t *testing.T) {
			wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
			id := identify(t, tpm.New(wire), tpm.Options{})
			sealed, err := id.Seal(ctx, secret.Random(32))
			if err != nil {
				t.Fatal(err)
			}

			blob, seed := credential(t, id.EKPublic(), id.AKPublic(), make([]byte, 32))
			wire.change = func(command, reply []byte) []byte {
				if commandCode(command) == row.of {
					reply[18] ^= 1
				}
				return reply
			}

			if row.of == tpm2.TPMCCUnseal {
				_, err = id.Unseal(ctx, sealed)
			} else {
				_, err = id.Activate(ctx, blob, seed)
			}
			if err == nil {
				t.Error("an altered reply was taken")
			}
		})
	}
}

// B3, C9: a sealed secret opens by its policy alone: PCR 15, and no other
// PCR, no password, no owner.
func TestOnlyPCR15OpensASealedSecret(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		pcr  int
		want string
	}{{7, ""}, {11, ""}, {12, ""}, {14, ""}, {16, ""}, {23, ""}, {15, tpm.CodeSealPolicy}} {
		sim := tpmtest.Start(t)
		dev := open(t, sim)
		id := identify(t, dev, tpm.Options{})
		blob, err := id.Seal(ctx, secret.Random(32))
		if err != nil {
			t.Fatal(err)
		}

		if err := dev.Extend(ctx, row.pcr, func(h crypto.Hash) []byte { return make([]byte, h.Size()) }); err != nil {
			t.Fatal(err)
		}
		if _, err := id.Unseal(ctx, blob); code(err) != row.want {
			t.Errorf("Unseal after PCR %d changed = %v, want code %q", row.pcr, err, row.want)
		}
	}
}

// A bank that is left out of an extend could still vouch for the state
// before.
func TestExtendReachesEveryBank(t *testing.T) {
	sim := tpmtest.Start(t)
	dev, raw := open(t, sim), rawBus(t, sim)
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}

	assigned, err := rsp.CapabilityData.Data.AssignedPCR()
	if err != nil {
		t.Fatal(err)
	}

	asked := 0
	if err := dev.Extend(context.Background(), 15, func(h crypto.Hash) []byte { asked++; return make([]byte, h.Size()) }); err != nil {
		t.Fatal(err)
	}

	for _, bank := range assigned.PCRSelections {
		read, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: bank.Hash, PCRSelect: []byte{0, 1 << 7, 0}},
		}}}.Execute(raw)
		if err != nil {
			t.Fatal(err)
		}
		if d := read.PCRValues.Digests; len(d) == 1 && bytes.Equal(d[0].Buffer, make([]byte, len(d[0].Buffer))) {
			t.Errorf("bank %v was not extended", bank.Hash)
		}
	}

	if asked < 2 {
		t.Errorf("%d banks are on: the test shows nothing", asked)
	}
	if err := dev.Extend(context.Background(), 15, func(crypto.Hash) []byte { return []byte{1} }); err == nil {
		t.Error("a digest of another length was taken")
	}

	for _, pcr := range []int{-1, 24} {
		if _, err := dev.ReadPCR(context.Background(), pcr); code(err) != tpm.CodeUnsupported {
			t.Errorf("ReadPCR(%d) = %v, want code %s", pcr, err, tpm.CodeUnsupported)
		}
	}
}

func TestNoPasswordOpensASealedSecret(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	id := identify(t, open(t, sim), tpm.Options{})
	blob, err := id.Seal(ctx, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}

	id.Close()
	raw := rawBus(t, sim)
	object := load(t, raw, blob)
	for _, row := range []struct {
		name string
		auth tpm2.Session
	}{
		{"empty password", tpm2.PasswordAuth(nil)},
		{"some password", tpm2.PasswordAuth([]byte("password"))},
		{"HMAC session", tpm2.HMAC(tpm2.TPMAlgSHA256, 16)},
		{"empty policy", tpm2.Policy(tpm2.TPMAlgSHA256, 16, func(tpmBus, tpm2.TPMISHPolicy, tpm2.TPM2BNonce) error { return nil })},
	} {
		object.Auth = row.auth
		if _, err := (tpm2.Unseal{ItemHandle: object}).Execute(raw); err == nil {
			t.Errorf("%s opened a sealed secret", row.name)
		}
	}
}

// load loads a sealed secret past our own code.
func load(t *testing.T, raw tpmBus, blob []byte) tpm2.AuthHandle {
	t.Helper()
	n := binary.BigEndian.Uint16(blob)
	private, public := blob[2:2+n], blob[2+n+2:]
	srk, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}

	loaded, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: srk.ObjectHandle, Name: srk.Name, Auth: tpm2.PasswordAuth(nil)},
		InPrivate:    tpm2.TPM2BPrivate{Buffer: private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](public),
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}

	return tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}
}

// A blob whose public area says anything else than Seal's is not loaded.
func TestForeignBlobs(t *testing.T) {
	ctx := context.Background()
	id := identify(t, open(t, tpmtest.Start(t)), tpm.Options{})
	good, err := id.Seal(ctx, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}

	public := 2 + int(binary.BigEndian.Uint16(good)) + 2
	for _, row := range []struct {
		name string
		blob func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"cut short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"trailing byte", func(b []byte) []byte { return append(b, 0) }},
		{"opens with a password", func(b []byte) []byte { b[public+7] |= 1 << 6; return b }},
		{"another policy", func(b []byte) []byte { b[public+10] ^= 1; return b }},
		{"another secret's name", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"altered private part", func(b []byte) []byte { b[20] ^= 1; return b }},
		{"lengths that overflow", func(b []byte) []byte { b[0], b[1] = 0xff, 0xff; return b }},
	} {
		if _, err := id.Unseal(ctx, row.blob(bytes.Clone(good))); code(err) != tpm.CodeSealForeign {
			t.Errorf("Unseal of a blob that is %s = %v, want code %s", row.name, err, tpm.CodeSealForeign)
		}
	}

	if _, err := id.Unseal(ctx, good); err != nil {
		t.Error(err)
	}
}
