package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"latchkey/internal/secret"

	"github.com/google/go-tpm/tpm2"
)

// A TPMT_PUBLIC (Part 2, section 12.2.4) that lk1 takes is one of three
// templates followed by the key itself. It is compared as bytes: what is
// not exactly the template is refused, and no decoder meets hostile input.
type template struct {
	name   string
	fields []field
	key    int // bytes of an ECC coordinate or an RSA modulus
}

// field is a part of a template, for the error that names it.
type field struct{ name, bytes string }

// policySecretEndorsement is PolicySecret(TPM_RH_ENDORSEMENT): EK Credential
// Profile 2.3, B.3.
const policySecretEndorsement = "\x00\x20\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24" +
	"\xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa"

var (
	// ekP256 is template L-2: restricted decryption key, fixedTPM,
	// fixedParent, sensitiveDataOrigin, adminWithPolicy.
	ekP256 = template{"P-256", []field{
		{"type", "\x00\x23"},
		{"name algorithm", "\x00\x0b"},
		{"attributes", "\x00\x03\x00\xb2"},
		{"policy", policySecretEndorsement},
		{"symmetric algorithm", "\x00\x06\x00\x80\x00\x43"},
		{"scheme", "\x00\x10"},
		{"curve", "\x00\x03"},
		{"KDF", "\x00\x10"},
	}, 32}
	// ekRSA2048 is template L-1.
	ekRSA2048 = template{"RSA-2048", []field{
		{"type", "\x00\x01"},
		{"name algorithm", "\x00\x0b"},
		{"attributes", "\x00\x03\x00\xb2"},
		{"policy", policySecretEndorsement},
		{"symmetric algorithm", "\x00\x06\x00\x80\x00\x43"},
		{"scheme", "\x00\x10"},
		{"key size", "\x08\x00"},
		{"exponent", "\x00\x00\x00\x00"},
	}, 256}
	// ak is restricted, sign, not decrypt, fixedTPM, fixedParent,
	// sensitiveDataOrigin, userWithAuth, noDA; ECDSA with SHA-256.
	ak = template{"AK", []field{
		{"type", "\x00\x23"},
		{"name algorithm", "\x00\x0b"},
		{"attributes", "\x00\x05\x04\x72"},
		{"policy", "\x00\x00"},
		{"symmetric algorithm", "\x00\x10"},
		{"scheme", "\x00\x18\x00\x0b"},
		{"curve", "\x00\x03"},
		{"KDF", "\x00\x10"},
	}, 32}
)

// match takes the template off area and returns what is left: the key.
func (t template) match(area []byte) ([]byte, error) {
	for _, f := range t.fields {
		if len(area) < len(f.bytes) || string(area[:len(f.bytes)]) != f.bytes {
			return nil, fmt.Errorf("public area is not lk1's %s template: other %s", t.name, f.name)
		}
		area = area[len(f.bytes):]
	}
	return area, nil
}

// point reads the two coordinates of a P-256 key; some TPMs strip leading
// zeros.
func (t template) point(area []byte) (*ecdsa.PublicKey, error) {
	rest, err := t.match(area)
	if err != nil {
		return nil, err
	}

	uncompressed := make([]byte, 65)
	uncompressed[0] = 4
	for _, to := range [][]byte{uncompressed[1:33], uncompressed[33:]} {
		coordinate, after, ok := Cut2B(rest)
		if !ok || len(coordinate) == 0 || len(coordinate) > t.key {
			return nil, fmt.Errorf("%s public area has a malformed point", t.name)
		}
		copy(to[t.key-len(coordinate):], coordinate)
		rest = after
	}

	if len(rest) != 0 {
		return nil, fmt.Errorf("%s public area has %d trailing bytes", t.name, len(rest))
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), uncompressed)
}

// ReadAK checks lk1's AK against its template.
func ReadAK(area []byte) (ECDSA, error) {
	key, err := ak.point(area)
	return ECDSA{key}, err
}

// ReadEK checks an EK against the two templates and returns it as go-tpm
// wants it: the template with this key.
func ReadEK(area []byte) (tpm2.TPMTPublic, error) {
	if bytes.HasPrefix(area, []byte{0x00, 0x23}) {
		return readP256EK(area)
	}
	rest, err := ekRSA2048.match(area)
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	modulus, after, ok := Cut2B(rest)
	if !ok || len(after) != 0 || CheckModulus(modulus) != nil {
		return tpm2.TPMTPublic{}, errors.New("RSA-2048 public area has a malformed modulus")
	}
	public := tpm2.RSAEKTemplate
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: modulus})
	return public, nil
}

func readP256EK(area []byte) (tpm2.TPMTPublic, error) {
	key, err := ekP256.point(area)
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	point, err := key.Bytes()
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	public := tpm2.ECCEKTemplate
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
	})
	return public, nil
}

// NameOf is an object's name (Part 1, section 16): the KMS computes it, so
// that a credential binds exactly the AK that it checked.
func NameOf(area []byte) []byte {
	sum := sha256.Sum256(area)
	return append([]byte{0x00, 0x0b}, sum[:]...)
}

// EndorsementName is the qualified name (Part 1, section 16) of a primary
// key of the endorsement hierarchy, by its name.
func EndorsementName(name []byte) []byte {
	const endorsement = 0x4000000b // TPM_RH_ENDORSEMENT, Part 2, section 7.4
	return qualifiedName(endorsement, name)
}

func qualifiedName(hierarchy uint32, name []byte) []byte {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, hierarchy), name...))
	return append([]byte{0x00, 0x0b}, sum[:]...)
}

// MakeCredential is TPM2_MakeCredential in software (Part 1, section 24):
// only the TPM that holds both the EK and the AK of this name gets at the
// secret.
func MakeCredential(ek tpm2.TPMTPublic, akName []byte, value secret.Bytes) (blob, seed []byte, err error) {
	key, err := tpm2.ImportEncapsulationKey(&ek)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the EK: %w", err)
	}
	blob, seed, err = tpm2.CreateCredential(rand.Reader, key, akName, value.Reveal())
	if err != nil {
		return nil, nil, fmt.Errorf("making the credential: %w", err)
	}
	return blob, seed, nil
}
