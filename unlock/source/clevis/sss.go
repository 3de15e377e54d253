package clevis

import (
	"errors"
	"fmt"
	"math/big"

	"latchkey/internal/secret"
)

// A field is the integers modulo a prime, in which shares are points of a
// polynomial: src/pins/sss/sss.c of clevis.
type field struct {
	p     *big.Int
	bytes int // of a coordinate
}

// newField reads the prime. Clevis makes one of 256 bits: the key is one of
// A256GCM.
func newField(p string) (field, error) {
	b, err := decode("p", p)
	if err != nil {
		return field{}, err
	}
	f := field{new(big.Int).SetBytes(b), len(b)}
	if len(b) != 32 || f.p.BitLen() != 256 || !f.p.ProbablyPrime(20) {
		return field{}, errors.New("p is no prime of 256 bits")
	}
	return f, nil
}

// join is the value at 0 of the polynomial through the shares, x and y of a
// point each.
func (f field) join(shares []secret.Bytes) (secret.Bytes, error) {
	xs, ys := make([]*big.Int, len(shares)), make([]*big.Int, len(shares))
	for i, s := range shares {
		if s.Len() != 2*f.bytes {
			return secret.Bytes{}, fmt.Errorf("a share has %d bytes, want %d", s.Len(), 2*f.bytes)
		}
		xs[i], ys[i] = new(big.Int).SetBytes(s.Reveal()[:f.bytes]), new(big.Int).SetBytes(s.Reveal()[f.bytes:])
		if xs[i].Sign() == 0 || xs[i].Cmp(f.p) >= 0 || ys[i].Cmp(f.p) >= 0 {
			return secret.Bytes{}, errors.New("a share is no point of the field")
		}
	}

	sum := new(big.Int)
	for i := range xs {
		term := new(big.Int).Set(ys[i])
		for j := range xs {
			if i == j {
				continue
			}
			d := new(big.Int).Sub(xs[j], xs[i])
			if d.Mod(d, f.p).Sign() == 0 {
				return secret.Bytes{}, errors.New("two shares are the same")
			}
			term.Mul(term, xs[j]).Mul(term, d.ModInverse(d, f.p)).Mod(term, f.p)
		}
		sum.Add(sum, term)
	}
	key := secret.Make(f.bytes)
	sum.Mod(sum, f.p).FillBytes(key.Reveal())
	return key, nil
}
