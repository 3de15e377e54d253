// Package shamir shares a secret among people so that any so many of them
// have it, and fewer know nothing: A. Shamir, "How to share a secret",
// Communications of the ACM 22 (1979), over GF(256) by the polynomial of AES
// (FIPS 197, section 4.2), byte by byte, as HashiCorp's Vault does. It takes
// the same time for all secrets.
package shamir

import (
	"crypto/rand"
	"errors"
	"fmt"

	"latchkey/internal/secret"
)

// A Share is a point of the polynomials whose values at 0 are the secret.
type Share struct {
	X byte // 1 to 255, public
	Y secret.Bytes
}

// Split makes n shares, of which k give the secret. Their X are 1 to n.
func Split(s secret.Bytes, k, n int) ([]Share, error) {
	if s.Len() == 0 || k < 2 || n < k || n > 255 {
		return nil, fmt.Errorf("sharing a secret: %d of %d shares of %d bytes is not possible", k, n, s.Len())
	}
	// Coefficients by degree; those of degree 0 are the secret. The last may
	// be 0, too: else it would be known not to be.
	coefficients := make([][]byte, k)
	coefficients[0] = s.Reveal()
	for i := 1; i < k; i++ {
		coefficients[i] = make([]byte, s.Len())
		rand.Read(coefficients[i])
		defer clear(coefficients[i])
	}

	shares := make([]Share, n)
	for i := range shares {
		x, y := byte(i+1), make([]byte, s.Len())
		for degree := k - 1; degree >= 0; degree-- { // Horner's rule
			for j := range y {
				y[j] = multiply(y[j], x) ^ coefficients[degree][j]
			}
		}
		shares[i] = Share{x, secret.Own(y)}
	}
	return shares, nil
}

// Combine gives the secret of shares: of more than k, too. Of fewer, or of
// different secrets, it gives nonsense, which only the caller can notice.
func Combine(shares []Share) (secret.Bytes, error) {
	if len(shares) < 2 {
		return secret.Bytes{}, errors.New("combining shares: one is not enough")
	}
	size := shares[0].Y.Len()
	for i, s := range shares {
		if s.X == 0 || s.Y.Len() != size || size == 0 {
			return secret.Bytes{}, errors.New("combining shares: one is malformed")
		}
		for _, other := range shares[:i] {
			if s.X == other.X {
				return secret.Bytes{}, fmt.Errorf("combining shares: share %d is there twice", s.X)
			}
		}
	}

	out := secret.Make(size)
	for i, s := range shares { // Lagrange's polynomials at 0
		weight := byte(1)
		for j, other := range shares {
			if i != j {
				weight = multiply(weight, multiply(other.X, invert(other.X^s.X)))
			}
		}
		for at, y := range s.Y.Reveal() {
			out.Reveal()[at] ^= multiply(y, weight)
		}
	}
	return out, nil
}

// multiply multiplies in GF(256), without a branch or a table that depends
// on what is multiplied.
func multiply(a, b byte) (product byte) {
	for range 8 {
		product ^= -(b & 1) & a
		a = a<<1 ^ -(a>>7)&0x1b
		b >>= 1
	}
	return product
}

// invert is a^254: the inverse, and 0 of 0.
func invert(a byte) byte {
	square := func(b byte) byte { return multiply(b, b) }
	b := square(a)         // a^2
	c := multiply(b, a)    // a^3
	d := square(square(c)) // a^12
	e := multiply(d, c)    // a^15
	f := square(square(square(square(e))))
	return multiply(multiply(f, d), b) // a^240, a^252, a^254
}
