package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"

	"latchkey/kms"
)

// attestCertify is TPM_ST_ATTEST_CERTIFY: Part 2, section 6.9.
const attestCertify = 0x8017

// beatKey is lk1's AK, but not restricted: it signs what the KMS gives it.
var beatKey = template{"beat key", []field{
	{"type", "\x00\x23"},
	{"name algorithm", "\x00\x0b"},
	{"attributes", "\x00\x04\x04\x72"},
	{"policy", "\x00\x00"},
	{"symmetric algorithm", "\x00\x10"},
	{"scheme", "\x00\x18\x00\x0b"},
	{"curve", "\x00\x03"},
	{"KDF", "\x00\x10"},
}, 32}

// BeatKeySize is that of a key of beats, as a compressed point (SEC 1, section
// 2.3.3), in bytes.
const BeatKeySize = 33

// CheckBeatKey judges a key of beats and the AK's certificate of it, in this
// order: the key's template; the signature; magic and type; the hierarchy of
// the AK; the challenge that it answers; that it is of this key; and that the
// key is a primary of the null hierarchy, which has another seed after each
// reset of the TPM (Part 1, sections 14 and 16).
func CheckBeatKey(k kms.BeatKey, akPublic, extra []byte) (public [BeatKeySize]byte, c Clock, err error) {
	key, err := beatKey.point(k.Public)
	if err != nil {
		return public, c, err
	}
	ak, err := ReadAK(akPublic)
	if err != nil {
		return public, c, err
	}
	if err := ak.verify(k.Attest, k.Signature); err != nil {
		return public, c, err
	}
	a, rest, ok := parseHead(k.Attest, 0)
	name, rest, named := Cut2B(rest)
	qualified, rest, qualifies := Cut2B(rest)
	want := NameOf(k.Public)
	const null = 0x40000007 // TPM_RH_NULL, Part 2, section 7.4
	switch {
	case !ok || !named || !qualifies || len(rest) != 0:
		return public, c, errors.New("certificate is malformed")
	case a.magic != tpmGenerated:
		return public, c, errors.New("certificate was not made by a TPM: its magic is missing")
	case a.kind != attestCertify:
		return public, c, fmt.Errorf("attestation of type %#x certifies no key", a.kind)
	case string(a.signer) != string(EndorsementName(NameOf(akPublic))):
		return public, c, errors.New("certificate was signed by a key of another hierarchy")
	case subtle.ConstantTimeCompare(a.extra, extra) != 1:
		return public, c, errors.New("certificate answers another challenge")
	case string(name) != string(want):
		return public, c, errors.New("certificate is of another key")
	case string(qualified) != string(qualifiedName(null, want)):
		return public, c, errors.New("key is not of the null hierarchy: it would outlive this boot")
	}
	point, err := key.Bytes()
	if err != nil {
		return public, c, err
	}
	public[0] = 2 + point[64]&1
	copy(public[1:], point[1:33])
	return public, a.clock, nil
}

// VerifyBeat checks the signature of a beat, r ‖ s, over a digest.
func VerifyBeat(public [BeatKeySize]byte, digest [32]byte, signature [kms.BeatSignature]byte) error {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), public[:])
	if x == nil {
		return errors.New("a ticket with no point on the curve")
	}
	point := make([]byte, 65)
	point[0] = 4
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return err
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return errors.New("beat is not signed with the key of its ticket")
	}
	return nil
}
