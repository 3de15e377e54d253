package tpm_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

func kairosOf(t *testing.T, dev *tpm.TPM) *tpm.Kairos {
	t.Helper()
	k, err := dev.Kairos(t.Context(), tpm.KairosKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// challenge makes a credential for both keys, as whole TPM2B.
func challenge(t *testing.T, spki, ak []byte, s secret.Bytes) (blob, seed []byte) {
	t.Helper()
	ek := tpm2.RSAEKTemplate
	ek.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: spki[33 : 33+256]})
	blob, seed = credential(t, tpm2.Marshal(ek), ak, s.Reveal())
	return tpm2.Marshal(tpm2.TPM2BIDObject{Buffer: blob}), tpm2.Marshal(tpm2.TPM2BEncryptedSecret{Buffer: seed})
}

// A TPM proves both keys, again and again, and nothing stays loaded. It does
// so beside the keys of lk1, in a TPM that has room for three.
func TestKairosProves(t *testing.T) {
	ctx := t.Context()
	sim := tpmtest.Start(t)
	dev, raw := open(t, sim), rawBus(t, sim)
	id := identify(t, dev, tpm.Options{})
	k := kairosOf(t, dev)
	if hash, err := dev.Hash(ctx); err != nil || hash != hexOf(k.SPKI()) {
		t.Errorf("Hash = %s, %v, want that of SPKI, %s", hash, err, hexOf(k.SPKI()))
	}

	before := k.AK()
	for range 2 {
		want := secret.Random(32)
		blob, seed := challenge(t, k.SPKI(), k.AK().Public, want)
		got, quote, err := k.Prove(ctx, blob, seed)
		if err != nil || !got.Equal(want) {
			t.Fatalf("Prove = %v, %v, want the secret", got, err)
		}
		if len(quote.PCRs) != 3 || quote.PCRs[1].Index != 7 {
			t.Errorf("the quote is of %v, want PCRs 0, 7 and 11", quote.PCRs)
		}
		if own, err := id.Seal(ctx, want); err != nil {
			t.Errorf("lk1's keys, then: %v", err)
		} else if _, err := id.Unseal(ctx, own); err != nil {
			t.Errorf("lk1's keys, then: %v", err)
		}
		if err := k.Renew(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(before.Public, k.AK().Public) {
		t.Error("Renew kept the attestation key")
	}

	id.Close()
	list, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(tpm2.TPMHTTransient) << 24, PropertyCount: 8}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	if handles, err := list.CapabilityData.Data.Handles(); err != nil || len(handles.Handle) != 0 {
		t.Errorf("%v stay loaded, %v", handles, err)
	}
}

func hexOf(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// The creation data and what certifies it are as those of Kairos' client:
// kairos-tpm-attestation.txt, connection 1.
func TestKairosCreation(t *testing.T) {
	k := kairosOf(t, open(t, tpmtest.Start(t)))
	ak := k.AK()
	if len(ak.Public) != 280 || len(ak.CreateAttestation) != 139 || len(ak.CreateSignature) != 262 {
		t.Errorf("AK = %d, %d and %d bytes, want 280, 139 and 262 as recorded", len(ak.Public), len(ak.CreateAttestation), len(ak.CreateSignature))
	}
	const recorded = "000000000020e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85501000b0022000b"
	if got := hex.EncodeToString(ak.CreateData); len(got) != 2*115 || got[:len(recorded)] != recorded {
		t.Errorf("creation data = %s, want it to begin as recorded, %s, and 115 bytes", got, recorded)
	}
	digest := sha256.Sum256(ak.CreateData)
	if !bytes.Contains(ak.CreateAttestation, digest[:]) {
		t.Error("what certifies the creation is of other creation data")
	}
}

// A challenge that was altered, or cut, opens nothing.
func TestKairosRefuses(t *testing.T) {
	k := kairosOf(t, open(t, tpmtest.Start(t)))
	blob, seed := challenge(t, k.SPKI(), k.AK().Public, secret.Random(32))
	altered := bytes.Clone(blob)
	altered[len(altered)-1] ^= 1
	for _, row := range []struct {
		name       string
		blob, seed []byte
	}{{"altered", altered, seed}, {"cut", blob[:69], seed}, {"without its size", blob[2:], seed}, {"seed cut", blob, seed[:200]}, {"empty", nil, nil}} {
		if _, _, err := k.Prove(t.Context(), row.blob, row.seed); code(err) != tpm.CodeCredential {
			t.Errorf("%s: Prove = %v, want code %s", row.name, err, tpm.CodeCredential)
		}
	}
}

// What is at 0x81010001 is used only if it is the key that names the machine.
func TestKairosPersistentEK(t *testing.T) {
	for _, row := range []struct {
		name     string
		template tpm2.TPMTPublic
	}{{"the EK", tpm2.RSAEKTemplate}, {"another key", tpm2.RSASRKTemplate}} {
		t.Run(row.name, func(t *testing.T) {
			sim := tpmtest.Start(t)
			raw := rawBus(t, sim)
			made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(row.template)}.Execute(raw)
			if err != nil {
				t.Fatal(err)
			}
			persist(t, raw, made.ObjectHandle, made.Name, 0x81010001)
			k := kairosOf(t, open(t, sim))
			want := secret.Random(32)
			blob, seed := challenge(t, k.SPKI(), k.AK().Public, want)
			if got, _, err := k.Prove(t.Context(), blob, seed); err != nil || !got.Equal(want) {
				t.Errorf("Prove = %v, %v, want the secret", got, err)
			}
		})
	}
}

func persist(t *testing.T, raw tpmBus, h tpm2.TPMHandle, name tpm2.TPM2BName, at tpm2.TPMHandle) {
	t.Helper()
	if _, err := (tpm2.EvictControl{
		Auth:         tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle: &tpm2.NamedHandle{Handle: h, Name: name}, PersistentHandle: at,
	}).Execute(raw); err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(raw); err != nil {
		t.Fatal(err)
	}
}

// A certificate of a key that this TPM has not names the machine, and proves
// nothing.
func TestKairosForeignCertificate(t *testing.T) {
	sim := tpmtest.Start(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, rawBus(t, sim), key)
	k := kairosOf(t, open(t, sim))
	if got := hexOf(k.SPKI()); got != spkiHash(t, key.Public()) {
		t.Errorf("SPKI is of %s, want that of the certificate", got)
	}
	blob, seed := challenge(t, k.SPKI(), k.AK().Public, secret.Random(32))
	if _, _, err := k.Prove(t.Context(), blob, seed); code(err) != tpm.CodeUnsupported {
		t.Errorf("Prove = %v, want code %s", err, tpm.CodeUnsupported)
	}
}

// A passphrase goes to the persistent key and back, on this TPM alone, and
// stays in NV as it was written first.
func TestKairosKey(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	dev := open(t, sim)
	if _, err := dev.DecryptKairos(ctx, tpm.KairosKey, make([]byte, 256)); code(err) != tpm.CodeSealForeign {
		t.Errorf("DecryptKairos without a key = %v, want code %s", err, tpm.CodeSealForeign)
	}
	want := secret.Passphrase()
	sealed, err := dev.EncryptKairos(ctx, tpm.KairosKey, want)
	if err != nil || len(sealed) != 256 {
		t.Fatalf("EncryptKairos = %d bytes, %v, want 256", len(sealed), err)
	}
	again, err := dev.EncryptKairos(ctx, tpm.KairosKey, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range [][]byte{sealed, again} { // the key is kept
		if got, err := dev.DecryptKairos(ctx, tpm.KairosKey, blob); err != nil || !got.Equal(want) {
			t.Errorf("DecryptKairos = %v, %v, want the passphrase", got, err)
		}
	}
	sealed[17] ^= 1
	if _, err := dev.DecryptKairos(ctx, tpm.KairosKey, sealed); code(err) != tpm.CodeSealForeign {
		t.Errorf("DecryptKairos of altered bytes = %v, want code %s", err, tpm.CodeSealForeign)
	}

	if _, err := dev.ReadKairos(ctx, tpm.KairosNV); !errors.Is(err, tpm.ErrNoNV) {
		t.Errorf("ReadKairos of nothing = %v, want ErrNoNV", err)
	}
	define(t, rawBus(t, sim), tpm.KairosNV)
	if _, err := dev.ReadKairos(ctx, tpm.KairosNV); !errors.Is(err, tpm.ErrNoNV) {
		t.Errorf("ReadKairos after a power cut = %v, want ErrNoNV", err)
	}
	if err := dev.WriteKairos(ctx, tpm.KairosNV, again); err != nil {
		t.Fatal(err)
	}
	if err := dev.WriteKairos(ctx, tpm.KairosNV, sealed); err == nil {
		t.Error("WriteKairos wrote over a passphrase")
	}
	if got, err := dev.ReadKairos(ctx, tpm.KairosNV); err != nil || !bytes.Equal(got, again) {
		t.Errorf("ReadKairos = %x, %v, want what was written first", got, err)
	}
}

// define defines the index and no more, as a power cut leaves it.
func define(t *testing.T, raw tpmBus, index tpm2.TPMHandle) {
	t.Helper()
	public := tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 256,
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, PPRead: true},
	}
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: owner, PublicInfo: tpm2.New2B(public)}).Execute(raw); err != nil {
		t.Fatal(err)
	}
}
