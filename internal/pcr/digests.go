package pcr

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha1" // TPMs may have this bank on; it gets its measurement, too
	"crypto/sha256"
	"crypto/sha512"
)

// Digests are one measurement for each bank that a TPM may have on.
type Digests struct {
	SHA1   [20]byte
	SHA256 [32]byte
	SHA384 [48]byte
	SHA512 [64]byte
}

// Measure hashes data for each bank.
func Measure(data []byte) Digests {
	return Digests{sha1.Sum(data), sha256.Sum256(data), sha512.Sum384(data), sha512.Sum512(data)}
}

// MeasureSecret is what systemd extends PCRs with where a secret is
// measured: the HMAC of data by the secret, with each bank's own hash
// (src/shared/tpm2-util.c, tpm2_extend_bytes).
func MeasureSecret(secret, data []byte) (d Digests) {
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		mac := hmac.New(h.New, secret)
		mac.Write(data)
		mac.Sum(d.Of(h)[:0])
	}
	return d
}

// Of is the digest for one bank; nil for a bank that is none of these.
func (d *Digests) Of(bank crypto.Hash) []byte {
	switch bank {
	case crypto.SHA1:
		return d.SHA1[:]
	case crypto.SHA256:
		return d.SHA256[:]
	case crypto.SHA384:
		return d.SHA384[:]
	case crypto.SHA512:
		return d.SHA512[:]
	}
	return nil
}

// Bank is the bank of a name, as systemd and policies write it, or 0.
func Bank(name string) crypto.Hash {
	switch name {
	case "sha1":
		return crypto.SHA1
	case "sha256":
		return crypto.SHA256
	case "sha384":
		return crypto.SHA384
	case "sha512":
		return crypto.SHA512
	}
	return 0
}
