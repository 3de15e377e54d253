package talos_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"github.com/siderolabs/go-blockdevice/v2/encryption/luks"

	"latchkey/unlock/source/talos"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// tpmToken is what Talos 1.12 writes: internal/pkg/encryption/keys/tpm2.go.
type tpmToken struct {
	KeySlots          []int  `json:"keyslots"`
	SealedBlobPrivate []byte `json:"sealed_blob_private"`
	SealedBlobPublic  []byte `json:"sealed_blob_public"`
	PCRs              []int  `json:"pcrs"`
	PubKeyPCRs        []int  `json:"pubkey_pcrs,omitempty"`
	Alg               string `json:"alg"`
	EncryptionVersion string `json:"encryption_version,omitempty"`
	PolicyHash        []byte `json:"policy_hash"`
	KeyName           []byte `json:"key_name"`
}

// pcrPolicy is a policy of one PCR of a new TPM, whose value is zero, after
// another: TPM2_PolicyPCR, Part 3, section 23.7.
func pcrPolicy(t *testing.T, c *tpm2.PolicyCalculator, pcr int) {
	t.Helper()
	digest := sha256.Sum256(make([]byte, 32))
	selection := make([]byte, 3)
	selection[pcr/8] |= 1 << (pcr % 8)
	if err := (tpm2.PolicyPCR{
		PcrDigest: tpm2.TPM2BDigest{Buffer: digest[:]},
		Pcrs:      tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: selection}}},
	}).Update(c); err != nil {
		t.Fatal(err)
	}
}

func calculator(t *testing.T) *tpm2.PolicyCalculator {
	t.Helper()
	c, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// seal seals as Talos does: internal/pkg/secureboot/tpm2/seal.go, policy.go.
func seal(t *testing.T, raw transport.TPM, signer *rsa.PublicKey, pcrs []int, key []byte) *tpmToken {
	t.Helper()
	c := calculator(t)
	if signer != nil {
		name, err := tpm2.ObjectName(&tpm2.TPMTPublic{
			Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: tpm2.TPMAObject{Decrypt: true, SignEncrypt: true, UserWithAuth: true},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
				Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull, Mode: tpm2.NewTPMUSymMode(tpm2.TPMAlgRSA, tpm2.TPMAlgNull)},
				Scheme:    tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgNull})},
				KeyBits:   tpm2.TPMKeyBits(signer.N.BitLen()), Exponent: uint32(signer.E),
			}),
			Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: signer.N.Bytes()}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := (tpm2.PolicyAuthorize{KeySign: *name}).Update(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range pcrs {
		pcrPolicy(t, c, n)
	}

	primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: primary.ObjectHandle}.Execute(raw)
	public, err := primary.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: primary.ObjectHandle, Name: primary.Name, Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 20, tpm2.Salted(primary.ObjectHandle, *public), tpm2.AESEncryption(128, tpm2.EncryptInOut))},
		InSensitive:  tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: key})}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgNull}}),
			AuthPolicy: tpm2.TPM2BDigest{Buffer: c.Hash().Digest},
		}),
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &tpmToken{
		SealedBlobPrivate: tpm2.Marshal(made.OutPrivate), SealedBlobPublic: tpm2.Marshal(made.OutPublic), KeyName: tpm2.Marshal(primary.Name),
		PolicyHash: c.Hash().Digest, Alg: "sha256",
	}
}

func extend7(t *testing.T, raw transport.TPM) {
	t.Helper()
	if _, err := (tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(7), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
	}).Execute(raw); err != nil {
		t.Fatal(err)
	}
}

// TestTPMOfTalos: what Talos sealed to a TPM, before 1.12 and since, on a disk
// that its library made.
func TestTPMOfTalos(t *testing.T) {
	d := newDisk(t)
	raw, err := linuxudstpm.Open(tpmtest.Start(t).Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32)}
	old := seal(t, raw, &signer.PublicKey, []int{7}, keys[0])
	old.PCRs = []int{11}
	both := seal(t, raw, &signer.PublicKey, []int{7}, keys[1])
	both.PCRs, both.PubKeyPCRs, both.EncryptionVersion = []int{7}, []int{11}, "1"
	alone := seal(t, raw, &signer.PublicKey, nil, keys[2])
	alone.PubKeyPCRs, alone.EncryptionVersion = []int{11}, "1"
	for slot, tok := range []*tpmToken{old, both, alone} {
		tok.KeySlots = []int{slot}
		d.add(slot, encoded(keys[slot]), &luks.Token[*tpmToken]{Type: "talos-tpm2", UserData: tok})
	}

	dev := tpm.New(raw)
	sign := func(pcrs []int, policy [32]byte) ([]byte, error) {
		c := calculator(t)
		pcrPolicy(t, c, 11)
		if !slices.Equal(pcrs, []int{11}) || !bytes.Equal(c.Hash().Digest, policy[:]) {
			t.Errorf("PCRs %d and the policy %x are to be signed", pcrs, policy)
		}
		sum := sha256.Sum256(policy[:])
		return rsa.SignPKCS1v15(rand.Reader, signer, crypto.SHA256, sum[:])
	}
	signed := func() (talos.Signer, error) {
		return talos.Signer{Modulus: signer.N.Bytes(), Exponent: uint32(signer.E), Find: sign}, nil
	}
	nobody := func() (talos.Signer, error) {
		s, _ := signed()
		s.Find = func([]int, [32]byte) ([]byte, error) { return nil, errors.New("none of 0 signatures") }
		return s, nil
	}
	i := d.open()
	all := names(i.v.Header)
	open := func(allowed []string, signer func() (talos.Signer, error)) error {
		return (&talos.TPM2{Allowed: allowed, Signer: signer, TPM: func(context.Context) (talos.Unsealer, error) { return dev, nil }}).Run(t.Context(), i)
	}
	for _, row := range []struct {
		name    string
		allowed []string
		signer  func() (talos.Signer, error)
		slot    int
		says    string // "" opens
	}{
		{"before 1.12", all[:1], signed, 0, ""},
		{"with PCR 7", all[1:2], signed, 1, ""},
		{"without", all[2:], signed, 2, ""},
		{"none that the plan allows", []string{strings.Repeat("0", 64)}, signed, -1, "does not allow what it has sealed"},
		{"an image without signatures", all, func() (talos.Signer, error) { return talos.Signer{}, os.ErrNotExist }, -1, "image uki --pcr-key"},
		{"an image of other signatures", all, nobody, -1, "none of 0 signatures"},
	} {
		i.slot = -1
		err := open(row.allowed, row.signer)
		if i.slot != row.slot || (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: keyslot %d, %v, want %d, %q", row.name, i.slot, err, row.slot, row.says)
		}
	}

	extend7(t, raw)
	i.slot = -1
	if err := open(all[:2], signed); i.slot != -1 || err == nil || !strings.Contains(err.Error(), "PCR 7 (sha256) has other values") {
		t.Errorf("another PCR 7: keyslot %d, %v", i.slot, err)
	}
}
