package kairos

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/attest"
)

// A SubjectPublicKeyInfo (RFC 3279, section 2.3.1) of an RSA-2048 key with
// exponent 65537 is these bytes around the modulus. It is compared as bytes:
// no decoder meets hostile input, and a key has one encoding, so one hash.
const (
	spkiHead = "\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00" +
		"\x30\x82\x01\x0a\x02\x82\x01\x01\x00"
	spkiTail    = "\x02\x03\x01\x00\x01"
	modulusSize = 256
)

// An AK's TPMT_PUBLIC (Part 2, section 12.2.4): RSA, SHA-256, attributes,
// no policy, no symmetric algorithm, RSASSA with SHA-256, 2048 bits,
// default exponent, modulus. The attributes are restricted, sign, not
// decrypt, fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth; the new
// generation adds noDA.
const (
	akHead   = "\x00\x01\x00\x0b"
	akNew    = "\x00\x05\x04\x72"
	akLegacy = "\x00\x05\x00\x72"
	akBody   = "\x00\x00" + "\x00\x10" + "\x00\x14\x00\x0b" + "\x08\x00" + "\x00\x00\x00\x00" + "\x01\x00"
)

// An identity is the two keys of an exchange, checked.
type identity struct {
	spki []byte
	ek   tpm2.TPMTPublic
	ak   *rsa.PublicKey
	name []byte // of the AK: Part 1, section 16
}

func (id *identity) hash() kms.NodeID { return sha256.Sum256(id.spki) }

// newIdentity takes exactly RSA-2048 for the EK, and exactly an AK that
// signs nothing but what its TPM made.
func newIdentity(spki, akPublic []byte) (*identity, error) {
	modulus, err := readEK(spki)
	if err != nil {
		return nil, err
	}
	ak, err := readAK(akPublic)
	if err != nil {
		return nil, err
	}
	public := tpm2.RSAEKTemplate
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: modulus})
	return &identity{spki, public, ak, attest.NameOf(akPublic)}, nil
}

func readEK(spki []byte) ([]byte, error) {
	n := len(spkiHead) + modulusSize
	if len(spki) != n+len(spkiTail) || string(spki[:len(spkiHead)]) != spkiHead || string(spki[n:]) != spkiTail {
		return nil, errors.New("reading the EK: it is not RSA-2048 with exponent 65537")
	}
	modulus := spki[len(spkiHead):n]
	return modulus, attest.CheckModulus(modulus)
}

func readAK(public []byte) (*rsa.PublicKey, error) {
	n := len(akHead) + 4 + len(akBody)
	if len(public) != n+modulusSize || string(public[:len(akHead)]) != akHead || string(public[len(akHead)+4:n]) != akBody {
		return nil, errors.New("reading the AK: it is not RSA-2048 that signs by RSASSA with SHA-256")
	}
	if attributes := string(public[len(akHead) : len(akHead)+4]); attributes != akNew && attributes != akLegacy {
		return nil, fmt.Errorf("reading the AK: attributes %x are not those of a restricted signing key", attributes)
	}
	if err := attest.CheckModulus(public[n:]); err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(public[n:]), E: 65537}, nil
}

// spkiOf reads the EK of a legacy node: PEM of a key or a certificate. The
// certificate vouches for nothing here: the hash of its key is a name.
func spkiOf(text []byte) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(rest) != 0 || len(block.Headers) != 0 {
		return nil, errors.New("reading the EK: it is not one PEM block")
	}

	switch block.Type {
	case "PUBLIC KEY":
		return block.Bytes, nil
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading the EK's certificate: %w", err)
		}
		return c.RawSubjectPublicKeyInfo, nil
	}

	return nil, fmt.Errorf("reading the EK: PEM of type %.32q", block.Type)
}

// HashOfPEM is the TPMHash of an EK in PEM.
func HashOfPEM(text []byte) (kms.NodeID, error) {
	spki, err := spkiOf(text)
	if err != nil {
		return kms.NodeID{}, err
	}
	if _, err := readEK(spki); err != nil {
		return kms.NodeID{}, err
	}
	return sha256.Sum256(spki), nil
}

// credential makes a challenge for the two keys: only the TPM that holds
// both gets at the secret. Both values are whole TPM2B.
func (id *identity) credential(value secret.Bytes) (credential, error) {
	blob, seed, err := attest.MakeCredential(id.ek, id.name, value)
	if err != nil {
		return credential{}, err
	}
	return credential{to2B(blob), to2B(seed)}, nil
}

// credential is {"Credential","Secret"}; JSON makes base64 of the bytes.
type credential struct{ Credential, Secret []byte }

func to2B(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }
