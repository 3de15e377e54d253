package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math/big"
)

// Heads of a TPMT_SIGNATURE (Part 2, section 11.3.4): scheme and hash; for
// RSA also the size of a 2048-bit signature.
const (
	ecdsaSHA256  = "\x00\x18\x00\x0b"
	rsassaSHA256 = "\x00\x14\x00\x0b\x01\x00"
)

// modulusSize is an RSA-2048 key's and signature's, in bytes.
const modulusSize = 256

// ECDSA is a P-256 key that signs by ECDSA with SHA-256, and nothing else.
type ECDSA struct{ *ecdsa.PublicKey }

func (k ECDSA) verify(attest, signature []byte) error {
	n := len(ecdsaSHA256)
	if len(signature) < n || string(signature[:n]) != ecdsaSHA256 {
		return errors.New("quote's signature is not ECDSA with SHA-256")
	}
	r, rest, okR := Cut2B(signature[n:])
	s, rest, okS := Cut2B(rest)
	if !okR || !okS || len(rest) != 0 || len(r) > 32 || len(s) > 32 {
		return errors.New("quote's signature is malformed")
	}
	sum := sha256.Sum256(attest)
	if !ecdsa.Verify(k.PublicKey, sum[:], new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)) {
		return errors.New("quote's signature is wrong")
	}
	return nil
}

// RSA is an RSA-2048 key that signs by RSASSA with SHA-256, and nothing
// else.
type RSA struct{ *rsa.PublicKey }

func (k RSA) verify(attest, signature []byte) error {
	n := len(rsassaSHA256)
	if len(signature) != n+modulusSize || string(signature[:n]) != rsassaSHA256 {
		return errors.New("quote's signature is not RSASSA with SHA-256")
	}
	sum := sha256.Sum256(attest)
	if rsa.VerifyPKCS1v15(k.PublicKey, crypto.SHA256, sum[:], signature[n:]) != nil {
		return errors.New("quote's signature is wrong")
	}
	return nil
}

// CheckModulus takes exactly an RSA-2048 key's.
func CheckModulus(m []byte) error {
	if len(m) != modulusSize || m[0]&0x80 == 0 || m[modulusSize-1]&1 == 0 {
		return errors.New("reading a key: malformed modulus")
	}
	return nil
}
