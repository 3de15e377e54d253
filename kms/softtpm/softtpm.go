// Package softtpm is a TPM in Go that can prove what lk1 asks for: for load
// generators and tests. It protects nothing, and a KMS has no reason to
// approve one: its keys are in the process' memory.
package softtpm

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// Public areas up to the key, as TCG template L-2 and lk1's AK have them.
const (
	ekHead = "0023000b000300b2" + "0020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa" + "000600800043" + "001000030010"
	akHead = "0023000b00050472" + "0000" + "0010" + "0018000b" + "00030010"
)

// A TPM has a P-256 EK and AK, and PCRs that anybody may set.
type TPM struct {
	EK   *ecdh.PrivateKey
	AK   *ecdsa.PrivateKey
	PCRs map[int][32]byte
	// Reset and Restart count as a TPM's clock does.
	Reset, Restart uint32

	ekPublic, akPublic []byte
}

// New makes a TPM with fresh keys. All PCRs are zero but 7, 11 and 12.
func New() (*TPM, error) {
	seed := make([]byte, 32)
	rand.Read(seed)
	return Named(string(seed))
}

// Named makes the TPM of that name: always the same one.
func Named(name string) (*TPM, error) {
	ekSeed, akSeed := sha256.Sum256([]byte("ek "+name)), sha256.Sum256([]byte("ak "+name))
	ek, err := ecdh.P256().NewPrivateKey(ekSeed[:])
	if err != nil {
		return nil, err
	}

	ak, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), akSeed[:])
	if err != nil {
		return nil, err
	}

	point, err := ak.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return &TPM{
		EK: ek, AK: ak, PCRs: map[int][32]byte{7: {7}, 11: {11}, 12: {12}}, Reset: 1,
		ekPublic: area(ekHead, ek.PublicKey().Bytes()), akPublic: area(akHead, point),
	}, nil
}

// area appends an uncompressed point to a template.
func area(head string, point []byte) []byte {
	b, err := hex.DecodeString(head)
	if err != nil {
		panic(err) // a constant above
	}
	for _, coordinate := range [][]byte{point[1:33], point[33:]} {
		b = binary.BigEndian.AppendUint16(b, 32)
		b = append(b, coordinate...)
	}
	return b
}

// EKPublic implements kms.Prover.
func (t *TPM) EKPublic() []byte { return t.ekPublic }

// EKCert implements kms.Prover: there is none.
func (t *TPM) EKCert() []byte { return nil }

// AKPublic implements kms.Prover.
func (t *TPM) AKPublic() []byte { return t.akPublic }

// NodeID is the node's name.
func (t *TPM) NodeID() kms.NodeID { return kms.NodeIDOf(t.ekPublic) }

// Activate implements kms.Prover: TPM2_ActivateCredential (Part 1, section
// 24), the inverse of what the KMS does.
func (t *TPM) Activate(_ context.Context, blob, seed []byte) (secret.Bytes, error) {
	point, err := tpm2.Unmarshal[tpm2.TPMSECCPoint](seed)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the seed: %w", err)
	}

	uncompressed := append(append([]byte{4}, point.X.Buffer...), point.Y.Buffer...)
	ephemeral, err := ecdh.P256().NewPublicKey(uncompressed)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the seed: %w", err)
	}

	z, err := t.EK.ECDH(ephemeral)
	if err != nil {
		return secret.Bytes{}, err
	}

	shared := tpm2.KDFe(crypto.SHA256, z, "IDENTITY", point.X.Buffer, t.EK.PublicKey().Bytes()[1:33], 256)
	return t.openCredential(shared, blob)
}

func (t *TPM) openCredential(seed, blob []byte) (secret.Bytes, error) {
	if len(blob) < 2+32 {
		return secret.Bytes{}, errors.New("the credential is too short")
	}
	mac, encrypted := blob[2:34], blob[34:]
	sum := sha256.Sum256(t.akPublic)
	name := append([]byte{0x00, 0x0b}, sum[:]...)
	h := hmac.New(sha256.New, tpm2.KDFa(crypto.SHA256, seed, "INTEGRITY", nil, nil, 256))
	h.Write(encrypted)
	h.Write(name)
	if !hmac.Equal(mac, h.Sum(nil)) {
		return secret.Bytes{}, errors.New("the credential is for another key")
	}

	block, err := aes.NewCipher(tpm2.KDFa(crypto.SHA256, seed, "STORAGE", name, nil, 128))
	if err != nil {
		return secret.Bytes{}, err
	}

	plain := make([]byte, len(encrypted))
	//lint:ignore SA1019 TPM 2.0 part 1, section 24 (credential protection): CFB with a zero IV
	cipher.NewCFBDecrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(plain, encrypted)
	if len(plain) != 34 {
		return secret.Bytes{}, errors.New("the credential has another size")
	}

	return secret.Own(plain[2:]), nil
}
