// Package kairostest is a node of Kairos, for tests: the client's side of
// both exchanges, and a TPM in Go with RSA keys that anybody may bend.
package kairostest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// A TPM has an RSA-2048 endorsement key and makes attestation keys.
type TPM interface {
	SPKI() []byte // of the endorsement key
	NewAK() (AK, error)
}

// An AK is a fresh attestation key.
type AK interface {
	Public() []byte // TPMT_PUBLIC
	// Activate takes both halves of a challenge as whole TPM2B.
	Activate(credential, seed []byte) ([]byte, error)
	// Quote quotes PCRs 0, 7 and 11 without a nonce.
	Quote() (attest, signature []byte, pcrs map[string][]byte, err error)
}

// A Soft is a TPM in Go. Bend what it quotes by its fields.
type Soft struct {
	EK         *rsa.PrivateKey
	Attributes string // of its AKs, four bytes
	PCRs       map[int][32]byte
	Clock      uint64
	Safe       byte
	Magic      uint32
	Kind       uint16
	Extra      []byte
	Selection  []byte // TPML_PCR_SELECTION

	reuse *softAK
}

// NewSoft makes a TPM with a fresh endorsement key, all PCRs zero.
func NewSoft() (*Soft, error) {
	ek, err := rsa.GenerateKey(rand.Reader, 2048)
	return &Soft{
		EK: ek, Attributes: "\x00\x05\x04\x72", PCRs: map[int][32]byte{}, Clock: 1000, Safe: 1, Magic: 0xff544347, Kind: 0x8018,
		Selection: []byte{0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0x08, 0},
	}, err
}

// SPKI implements TPM.
func (t *Soft) SPKI() []byte {
	der, err := x509.MarshalPKIXPublicKey(t.EK.Public())
	if err != nil {
		panic(err) // an RSA key
	}
	return der
}

// Hash is the TPMHash.
func (t *Soft) Hash() string { return HashOf(t) }

// HashOf is a TPM's TPMHash.
func HashOf(t TPM) string {
	sum := sha256.Sum256(t.SPKI())
	return hex.EncodeToString(sum[:])
}

// KeepAK makes the TPM use one attestation key for all that follows.
func (t *Soft) KeepAK() error {
	ak, err := t.NewAK()
	if err == nil {
		t.reuse = ak.(*softAK)
	}
	return err
}

// NewAK implements TPM.
func (t *Soft) NewAK() (AK, error) {
	if t.reuse != nil {
		return t.reuse, nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return &softAK{t, key}, err
}

// WithAK is the attestation key that has this private key: RSA-2048.
func (t *Soft) WithAK(key *rsa.PrivateKey) AK { return &softAK{t, key} }

type softAK struct {
	t   *Soft
	key *rsa.PrivateKey
}

func (a *softAK) Public() []byte {
	head := "\x00\x01\x00\x0b" + a.t.Attributes + "\x00\x00\x00\x10\x00\x14\x00\x0b\x08\x00\x00\x00\x00\x00\x01\x00"
	return append([]byte(head), a.key.N.FillBytes(make([]byte, 256))...)
}

// Activate is TPM2_ActivateCredential: Part 1, section 24.
func (a *softAK) Activate(credential, seed []byte) ([]byte, error) {
	if len(credential) != 70 || len(seed) != 258 || binary.BigEndian.Uint16(credential) != 68 || binary.BigEndian.Uint16(seed) != 256 {
		return nil, fmt.Errorf("the challenge has %d and %d bytes, not two whole TPM2B", len(credential), len(seed))
	}
	key, err := rsa.DecryptOAEP(sha256.New(), nil, a.t.EK, seed[2:], []byte("IDENTITY\x00"))
	if err != nil {
		return nil, err
	}

	sum := sha256.Sum256(a.Public())
	name := append([]byte{0x00, 0x0b}, sum[:]...)
	mac, encrypted := credential[4:36], credential[36:]
	h := hmac.New(sha256.New, tpm2.KDFa(crypto.SHA256, key, "INTEGRITY", nil, nil, 256))
	h.Write(encrypted)
	h.Write(name)
	if !hmac.Equal(mac, h.Sum(nil)) {
		return nil, errors.New("the credential is for another key")
	}

	block, err := aes.NewCipher(tpm2.KDFa(crypto.SHA256, key, "STORAGE", name, nil, 128))
	if err != nil {
		return nil, err
	}

	plain := make([]byte, len(encrypted))
	//lint:ignore SA1019 TPM 2.0 part 1, section 24 (credential protection): CFB with a zero IV
	cipher.NewCFBDecrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(plain, encrypted)
	return plain[2:], nil
}

func (a *softAK) Quote() (attest, signature []byte, pcrs map[string][]byte, err error) {
	h, pcrs := sha256.New(), map[string][]byte{}
	for _, pcr := range []int{0, 7, 11} {
		value := a.t.PCRs[pcr]
		h.Write(value[:])
		pcrs[fmt.Sprint(pcr)] = value[:]
	}

	b := binary.BigEndian.AppendUint32(nil, a.t.Magic)
	b = binary.BigEndian.AppendUint16(b, a.t.Kind)
	b = append2B(append2B(b, make([]byte, 34)), a.t.Extra)
	b = binary.BigEndian.AppendUint64(b, a.t.Clock)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, a.t.Safe)
	b = binary.BigEndian.AppendUint64(b, 1) // firmware version
	b = append2B(append(b, a.t.Selection...), h.Sum(nil))
	sum := sha256.Sum256(b)
	raw, err := rsa.SignPKCS1v15(nil, a.key, crypto.SHA256, sum[:])
	return b, append([]byte{0, 0x14, 0, 0x0b, 1, 0}, raw...), pcrs, err
}

func append2B(b, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(content))), content...)
}
