package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
)

// plain is what tpm2_createprimary makes.
func plain(p tpm2.TPMTPublic, unique tpm2.TPMUPublicID) tpm2.TPMTPublic {
	p.ObjectAttributes.NoDA, p.Unique = false, unique
	return p
}

// templates are written apart from the package's own.
var templates = map[tpm.Template]tpm2.TPMTPublic{
	tpm.SRKP256:      tpm2.ECCSRKTemplate,
	tpm.SRKRSA2048:   tpm2.RSASRKTemplate,
	tpm.PlainP256:    plain(tpm2.ECCSRKTemplate, tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})),
	tpm.PlainRSA2048: plain(tpm2.RSASRKTemplate, tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})),
}

const sealedText = "what was sealed"

// A sealing says how a test's secret is sealed.
type sealing struct {
	under  tpm.Template
	policy []tpm.Policy
	pin    []byte
}

// seal seals as another program does, by TPM commands of its own.
func (s sealing) seal(t *testing.T, raw transport.TPM) tpm.Sealed {
	t.Helper()
	primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(templates[s.under])}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: primary.ObjectHandle}.Execute(raw)
	public := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: len(s.policy) == 0},
		AuthPolicy:       tpm2.TPM2BDigest{Buffer: s.digest(t, raw)},
	}
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: primary.ObjectHandle, Name: primary.Name, Auth: tpm2.PasswordAuth(nil)},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: s.pin},
			Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: []byte(sealedText)}),
		}},
		InPublic: tpm2.New2B(public),
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tpm.Sealed{
		Parent: tpm.Parent{Template: s.under, Name: primary.Name.Buffer}, Policy: s.policy, PIN: secret.Own(slices.Clone(s.pin)),
		Private: made.OutPrivate.Buffer, Public: made.OutPublic.Bytes(),
	}
}

// digest computes the policy, with the PCRs as they are now.
func (s sealing) digest(t *testing.T, raw transport.TPM) []byte {
	t.Helper()
	if len(s.policy) == 0 {
		return nil
	}
	now := make([]byte, 32)
	extend := func(parts ...[]byte) {
		sum := sha256.Sum256(append(now, bytes.Join(parts, nil)...))
		now = sum[:]
	}
	for _, p := range s.policy {
		switch p := p.(type) {
		case tpm.PCRs:
			extend(pcrStep(t, raw, p))
		case tpm.SignedPCRs:
			name := signerName(t, p)
			now = make([]byte, 32)
			extend([]byte{0, 0, 1, 0x6a}, name) // TPM_CC_PolicyAuthorize
			extend()                            // an empty policyRef
		case tpm.PIN:
			extend([]byte{0, 0, 1, 0x6b}) // TPM_CC_PolicyAuthValue
		}
	}
	return now
}

func pcrStep(t *testing.T, raw transport.TPM, p tpm.PCRs) []byte {
	t.Helper()
	alg := map[crypto.Hash]tpm2.TPMAlgID{crypto.SHA1: tpm2.TPMAlgSHA1, crypto.SHA256: tpm2.TPMAlgSHA256, crypto.SHA384: tpm2.TPMAlgSHA384}[p.Bank]
	bits := make([]byte, 3)
	for _, n := range p.PCRs {
		bits[n/8] |= 1 << (n % 8)
	}
	selection := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: alg, PCRSelect: bits}}}
	read, err := tpm2.PCRRead{PCRSelectionIn: selection}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	values := sha256.New()
	for _, d := range read.PCRValues.Digests {
		values.Write(d.Buffer)
	}
	return values.Sum(append([]byte{0, 0, 1, 0x7f}, tpm2.Marshal(selection)...)) // TPM_CC_PolicyPCR
}

func signerName(t *testing.T, p tpm.SignedPCRs) []byte {
	t.Helper()
	public := []byte{0, 1, 0, 0xb, 0, 6, 0, 0x40, 0, 0, 0, 0x10, 0, 0x10} // RSA, SHA-256, userWithAuth|decrypt|sign, no policy, no symmetric, no scheme
	public = binary.BigEndian.AppendUint16(public, uint16(8*len(p.Modulus)))
	public = binary.BigEndian.AppendUint32(public, p.Exponent)
	public = binary.BigEndian.AppendUint16(public, uint16(len(p.Modulus)))
	sum := sha256.Sum256(append(public, p.Modulus...))
	return append([]byte{0, 0xb}, sum[:]...)
}

// signed is a step that key signs, for the PCRs as they are whenever asked.
func signed(key, by *rsa.PrivateKey, exponent uint32) tpm.SignedPCRs {
	return tpm.SignedPCRs{
		PCRs: tpm.PCRs{Bank: crypto.SHA256, PCRs: []int{11}}, Modulus: key.N.Bytes(), Exponent: exponent,
		Signature: func(policy [32]byte) []byte {
			if by == nil {
				return nil
			}
			digest := sha256.Sum256(policy[:])
			sig, _ := rsa.SignPKCS1v15(rand.Reader, by, crypto.SHA256, digest[:])
			return sig
		},
	}
}

func extendPCR(t *testing.T, dev *tpm.TPM, pcr int) {
	t.Helper()
	if err := dev.Extend(context.Background(), pcr, func(h crypto.Hash) []byte { return bytes.Repeat([]byte{7}, h.Size()) }); err != nil {
		t.Fatal(err)
	}
}

var (
	pcr7    = tpm.PCRs{Bank: crypto.SHA256, PCRs: []int{7}}
	pcrs01  = tpm.PCRs{Bank: crypto.SHA1, PCRs: []int{0, 1, 23}}
	zeroPIN = []byte{1, 2, 0, 3, 0, 0} // with a zero inside, and at its end
)
