package clevis

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
)

// A curve is one that tang's exchange keys may be on: NIST SP 800-186,
// section 3.2.1. All have p = 3 mod 4 and a = -3.
type curve struct {
	name    string
	ecdh    ecdh.Curve
	bytes   int // of a coordinate and of a scalar
	p, n, b *big.Int
}

func curveOf(name string) (curve, error) {
	switch name {
	case "P-256":
		return newCurve(name, ecdh.P256(), 32, "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
			"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"), nil
	case "P-384":
		return newCurve(name, ecdh.P384(), 48, "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
			"ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef"), nil
	case "P-521":
		return newCurve(name, ecdh.P521(), 66, "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
			"01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
			"0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00"), nil
	}
	return curve{}, fmt.Errorf("its key is on the curve %.16q, want P-256, P-384 or P-521", name)
}

func newCurve(name string, c ecdh.Curve, bytes int, p, n, b string) curve {
	number := func(s string) *big.Int {
		v, _ := new(big.Int).SetString(s, 16)
		return v
	}
	return curve{name, c, bytes, number(p), number(n), number(b)}
}

// point reads a key; ecdh refuses one that is not on the curve.
func (c curve) point(k jwk) (*ecdh.PublicKey, error) {
	x, err := decode("x", k.X)
	if err != nil {
		return nil, err
	}
	y, err := decode("y", k.Y)
	if err != nil {
		return nil, err
	}
	if k.Kty != "EC" || k.Crv != c.name || len(x) != c.bytes || len(y) != c.bytes {
		return nil, fmt.Errorf("it is no key on %s", c.name)
	}
	return c.ecdh.NewPublicKey(append(append([]byte{4}, x...), y...))
}

// key writes the point with this x, of the two that there are one. x is no
// secret here.
func (c curve) key(x []byte) (jwk, error) {
	// y^2 = x^3 - 3x + b; a square root modulo p = 3 mod 4 is the power (p+1)/4.
	v := new(big.Int).SetBytes(x)
	y := new(big.Int).Exp(v, big.NewInt(3), c.p)
	y.Sub(y, new(big.Int).Mul(v, big.NewInt(3))).Add(y, c.b).Mod(y, c.p)
	if y.ModSqrt(y, c.p) == nil {
		return jwk{}, errors.New("no point has this x")
	}
	return jwk{
		Alg: "ECMR", Crv: c.name, Kty: "EC",
		X: base64.RawURLEncoding.EncodeToString(x), Y: base64.RawURLEncoding.EncodeToString(y.FillBytes(make([]byte, c.bytes))),
	}, nil
}

// A blinding hides a point from the server that multiplies it: the point
// times e is any point, and the answer times 1/e is the point times the
// server's secret. (Clevis adds a random point instead and takes its multiple
// away again; the server does the same for both. A multiple needs only
// crypto/ecdh, which is constant time.)
type blinding struct{ e, inverse *ecdh.PrivateKey }

func (c curve) blind() (blinding, error) {
	e, err := c.ecdh.GenerateKey(rand.Reader)
	if err != nil {
		return blinding{}, err
	}
	// math/big is not constant time, so it inverts e times a random number,
	// which tells nothing of e: 1/e = r/(e*r).
	r, err := c.ecdh.GenerateKey(rand.Reader)
	if err != nil {
		return blinding{}, err
	}
	rv := new(big.Int).SetBytes(r.Bytes())
	er := new(big.Int).Mul(new(big.Int).SetBytes(e.Bytes()), rv)
	inverse := new(big.Int).ModInverse(er.Mod(er, c.n), c.n)
	inverse.Mul(inverse, rv).Mod(inverse, c.n)
	i, err := c.ecdh.NewPrivateKey(inverse.FillBytes(make([]byte, c.bytes)))
	return blinding{e, i}, err
}

// An exchange is one request to a tang server: ECMR, as tang's README has it.
type exchange struct {
	*jwe
	curve    curve
	blinding blinding
	request  []byte
}

// exchange makes the request for the key of a message.
func (j *jwe) exchange() (*exchange, error) {
	if j.header.Alg != "ECDH-ES" {
		return nil, fmt.Errorf("its alg is %.16q, want ECDH-ES", j.header.Alg)
	}
	c, err := curveOf(j.header.Epk.Crv)
	if err != nil {
		return nil, err
	}
	p, err := c.point(j.header.Epk)
	if err != nil {
		return nil, fmt.Errorf("its epk: %w", err)
	}

	x := &exchange{jwe: j, curve: c}
	if x.blinding, err = c.blind(); err != nil {
		return nil, err
	}
	blinded, err := x.blinding.e.ECDH(p)
	if err != nil {
		return nil, err
	}
	k, err := c.key(blinded)
	if err != nil {
		return nil, err
	}
	x.request, err = json.Marshal(k)
	return x, err
}

// open decrypts the message with what the server answered.
func (x *exchange) open(reply []byte) (secret.Bytes, error) {
	var k jwk
	if err := strictjson.DecodeKnown(reply, &k, jwkKeys...); err != nil {
		return secret.Bytes{}, err
	}
	p, err := x.curve.point(k)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("the answer: %w", err)
	}
	shared, err := x.blinding.inverse.ECDH(p)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer clear(shared)
	key, err := x.header.derive(shared)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer clear(key[:])
	return x.jwe.open(key[:])
}

// derive is the key derivation of ECDH-ES: RFC 7518, section 4.6.2, whose
// one round makes the 256 bits of A256GCM.
func (h header) derive(shared []byte) (key [32]byte, err error) {
	apu, err := decode("apu", h.Apu)
	if err != nil {
		return key, err
	}
	apv, err := decode("apv", h.Apv)
	if err != nil {
		return key, err
	}
	sum := sha256.New()
	sum.Write([]byte{0, 0, 0, 1})
	sum.Write(shared)
	for _, info := range [][]byte{[]byte(h.Enc), apu, apv} {
		sum.Write(binary.BigEndian.AppendUint32(nil, uint32(len(info))))
		sum.Write(info)
	}
	sum.Write(binary.BigEndian.AppendUint32(nil, 256))
	sum.Sum(key[:0])
	return key, nil
}
