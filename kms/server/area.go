package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
type field struct{ name, hex string }

// policySecretEndorsement is PolicySecret(TPM_RH_ENDORSEMENT): EK Credential
// Profile 2.3, B.3.
const policySecretEndorsement = "0020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"

var (
	// ekP256 is template L-2: restricted decryption key, fixedTPM,
	// fixedParent, sensitiveDataOrigin, adminWithPolicy.
	ekP256 = template{"P-256", []field{
		{"type", "0023"}, {"name algorithm", "000b"}, {"attributes", "000300b2"},
		{"policy", policySecretEndorsement}, {"symmetric algorithm", "000600800043"},
		{"scheme", "0010"}, {"curve", "0003"}, {"KDF", "0010"},
	}, 32}
	// ekRSA2048 is template L-1.
	ekRSA2048 = template{"RSA-2048", []field{
		{"type", "0001"}, {"name algorithm", "000b"}, {"attributes", "000300b2"},
		{"policy", policySecretEndorsement}, {"symmetric algorithm", "000600800043"},
		{"scheme", "0010"}, {"key size", "0800"}, {"exponent", "00000000"},
	}, 256}
	// ak is restricted, sign, not decrypt, fixedTPM, fixedParent,
	// sensitiveDataOrigin, userWithAuth, noDA; ECDSA with SHA-256.
	ak = template{"AK", []field{
		{"type", "0023"}, {"name algorithm", "000b"}, {"attributes", "00050472"}, {"policy", "0000"},
		{"symmetric algorithm", "0010"}, {"scheme", "0018000b"}, {"curve", "0003"}, {"KDF", "0010"},
	}, 32}
)

// match takes the template off area and returns what is left: the key.
func (t template) match(area []byte) ([]byte, error) {
	for _, f := range t.fields {
		want, err := hex.DecodeString(f.hex)
		if err != nil {
			panic(err) // a constant above
		}
		if !bytes.HasPrefix(area, want) {
			return nil, fmt.Errorf("public area is not lk1's %s template: other %s", t.name, f.name)
		}
		area = area[len(want):]
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
		coordinate, after, ok := cut2B(rest)
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

// checkEK tells which template an EK has.
func checkEK(area []byte) (kind string, err error) {
	if bytes.HasPrefix(area, []byte{0x00, 0x23}) {
		_, err := ekP256.point(area)
		return ekP256.name, err
	}
	rest, err := ekRSA2048.match(area)
	if err != nil {
		return "", err
	}
	modulus, after, ok := cut2B(rest)
	if !ok || len(after) != 0 || len(modulus) != ekRSA2048.key || modulus[0]&0x80 == 0 || modulus[255]&1 == 0 {
		return "", errors.New("RSA-2048 public area has a malformed modulus")
	}
	return ekRSA2048.name, nil
}

// nameOf is an object's name (Part 1, section 16): the KMS computes it, so
// that a credential binds exactly the AK that it checked.
func nameOf(area []byte) []byte {
	sum := sha256.Sum256(area)
	return append([]byte{0x00, 0x0b}, sum[:]...)
}

// cut2B takes a TPM2B off b.
func cut2B(b []byte) (content, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(b[0])<<8 | int(b[1])
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}
