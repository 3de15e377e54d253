package tpm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Hash is Kairos' name for this machine, TPMHash: lower-case hex SHA-256 of
// the SubjectPublicKeyInfo of the RSA EK. The key is the certificate's if
// the TPM holds one, else the one made of template L-1, with the nonce in
// NV if there is one.
func (t *TPM) Hash(ctx context.Context) (string, error) {
	_, hash, err := t.EndorsementKey(ctx)
	return hash, err
}

// EndorsementKey is the key that Hash is of, as SubjectPublicKeyInfo in DER,
// and the hash.
func (t *TPM) EndorsementKey(ctx context.Context) (spki []byte, hash string, err error) {
	c, end := t.begin(ctx)
	defer end()
	if spki, err = c.kairosEK(); err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(spki)
	return spki, hex.EncodeToString(sum[:]), nil
}

// kairosEK is the SubjectPublicKeyInfo of the EK that Kairos names a machine
// by. What was made for it is unloaded again.
func (c call) kairosEK() ([]byte, error) {
	if der, err := c.readNV(nvRSACertificate); err == nil {
		if key, ok := certifiedKey(der); ok {
			return encodeSPKI(key)
		}
	}
	ek, err := c.makeKairosEK()
	if err != nil {
		return nil, err
	}
	defer c.flush(ek.handle)
	return spkiOf(ek)
}

// makeKairosEK makes the RSA-2048 EK, with the nonce in NV if there is one.
func (c call) makeKairosEK() (key, error) {
	template := tpm2.RSAEKTemplate
	if nonce, err := c.readNV(nvRSANonce); err == nil && len(nonce) <= 256 {
		unique := make([]byte, 256)
		copy(unique, nonce)
		template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: unique})
	}
	return c.createPrimary("creating the RSA-2048 endorsement key", tpm2.TPMRHEndorsement, template)
}

func spkiOf(k key) ([]byte, error) {
	modulus, err := k.public.Unique.RSA()
	if err != nil {
		return nil, &Error{"reading a key", CodeFailed, err}
	}
	return encodeSPKI(pkcs1(modulus.Buffer))
}

// rsaExponent is the exponent that a TPM's zero stands for: Part 2, section
// 12.2.3.5.
const rsaExponent = 65537

// pkcs1 is an RSAPublicKey (RFC 8017, appendix A.1.1).
func pkcs1(modulus []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
			if len(modulus) > 0 && modulus[0]&0x80 != 0 {
				b.AddUint8(0) // it is not negative
			}
			b.AddBytes(modulus)
		})
		b.AddASN1Int64(rsaExponent)
	})
	return b.BytesOrPanic()
}

// rsaEncryption is 1.2.840.113549.1.1.1 with its NULL: RFC 3279, section
// 2.3.1. EK certificates may say rsaesOaep; Kairos writes this one.
var rsaEncryption = []byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00}

func encodeSPKI(key []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(rsaEncryption)
		b.AddASN1BitString(key)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, &Error{"encoding the endorsement key", CodeFailed, err}
	}
	return der, nil
}

// certifiedKey takes the RSAPublicKey out of a certificate (RFC 5280,
// section 4.1), without crypto/x509, which init has no room for. Bytes
// after the certificate are padding of the NV index. Nothing is believed
// because of it: the hash is a name.
func certifiedKey(der []byte) ([]byte, bool) {
	in := cryptobyte.String(der)
	var cert, tbs, spki cryptobyte.String
	if !in.ReadASN1(&cert, asn1.SEQUENCE) || !cert.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) || // version
		!tbs.SkipASN1(asn1.INTEGER) { // serial number
		return nil, false
	}

	for range 4 { // signature algorithm, issuer, validity, subject
		if !tbs.SkipASN1(asn1.SEQUENCE) {
			return nil, false
		}
	}

	var key []byte
	if !tbs.ReadASN1(&spki, asn1.SEQUENCE) || !spki.SkipASN1(asn1.SEQUENCE) || !spki.ReadASN1BitStringAsBytes(&key) {
		return nil, false
	}
	return key, checkPKCS1(key) == nil
}

func checkPKCS1(key []byte) error {
	in := cryptobyte.String(key)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() || !seq.SkipASN1(asn1.INTEGER) || !seq.SkipASN1(asn1.INTEGER) || !seq.Empty() {
		return errors.New("not an RSA key")
	}
	return nil
}
