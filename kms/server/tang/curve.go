package tang

import (
	"crypto"
	"crypto/ecdh"
	"crypto/elliptic"
	_ "crypto/sha256" // of ES256
	_ "crypto/sha512" // of ES384 and ES512
	"fmt"
	"math/big"
)

// A curve is one that tang's keys may be on: NIST SP 800-186, section 3.2.1,
// by the names of RFC 7518, section 6.2.1.1, which also says what signs on it
// (section 3.4).
type curve struct {
	ecdh     ecdh.Curve
	elliptic elliptic.Curve
	bytes    int // of a coordinate and of a scalar
	signs    string
	hash     crypto.Hash
}

func curveOf(name string) (curve, error) {
	switch name {
	case "P-256":
		return curve{ecdh.P256(), elliptic.P256(), 32, "ES256", crypto.SHA256}, nil
	case "P-384":
		return curve{ecdh.P384(), elliptic.P384(), 48, "ES384", crypto.SHA384}, nil
	case "P-521":
		return curve{ecdh.P521(), elliptic.P521(), 66, "ES512", crypto.SHA512}, nil
	}
	return curve{}, fmt.Errorf("its curve is %.16q, want P-256, P-384 or P-521", name)
}

// times multiplies a point by a scalar of the curve's length. The product
// takes the same time for all scalars of that length: in Go's library it is
// crypto/ecdh's own, of which that gives only one coordinate away, while a
// client needs to know which of two points it is (decision 0082).
func (c curve) times(p *ecdh.PublicKey, scalar []byte) (x, y []byte) {
	raw := p.Bytes()[1:]
	//lint:ignore SA1019 crypto/ecdh gives no y; the point was checked, and the scalar has its full length
	px, py := c.elliptic.ScalarMult(new(big.Int).SetBytes(raw[:c.bytes]), new(big.Int).SetBytes(raw[c.bytes:]), scalar)
	return px.FillBytes(make([]byte, c.bytes)), py.FillBytes(make([]byte, c.bytes))
}
