package tang

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	_ "crypto/sha1" // clients of old have thumbprints of it
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
)

// A Key is the public part of a key as JOSE has it: RFC 7517 and RFC 7518,
// section 6.2.
type Key struct {
	Alg    string   `json:"alg,omitempty"`
	Crv    string   `json:"crv"`
	KeyOps []string `json:"key_ops,omitempty"`
	Kid    string   `json:"kid,omitempty"`
	Kty    string   `json:"kty"`
	Use    string   `json:"use,omitempty"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
}

// keyMembers are those of a Key and of its private part.
var keyMembers = []string{"alg", "crv", "d", "key_ops", "kid", "kty", "use", "x", "y"}

// What tang's two keys are for.
const (
	algSign     = "ES512"
	algExchange = "ECMR"
)

// DefaultCurve is that of tang's keys.
const DefaultCurve = "P-521"

// Generate makes the pair that tang makes: one that signs advertisements, and
// one for the exchange, on a curve.
func Generate(name string) (sign, exchange Private, err error) {
	c, err := curveOf(name)
	if err != nil {
		return sign, exchange, fmt.Errorf("making keys: %w", err)
	}
	exchange = generate(c, Key{Alg: algExchange, Crv: name, KeyOps: []string{"deriveKey"}})
	if c, err = curveOf(DefaultCurve); err != nil {
		return sign, exchange, err
	}
	return generate(c, Key{Alg: algSign, Crv: DefaultCurve, KeyOps: []string{"sign", "verify"}}), exchange, nil
}

func generate(c curve, k Key) Private {
	d, err := c.ecdh.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	raw := d.PublicKey().Bytes()[1:]
	k.Kty, k.X, k.Y = "EC", encode(raw[:c.bytes]), encode(raw[c.bytes:])
	return Private{k, secret.Own(d.Bytes())}
}

// A Private is a key with its private part. Wipe D.
type Private struct {
	Key
	D secret.Bytes // of the curve's length
}

// ParseKey reads what a client sends. Members that it does not have are
// passed over.
func ParseKey(text []byte) (k Key, err error) {
	err = strictjson.DecodeKnown(text, &k, keyMembers...)
	return k, err
}

// ParsePrivate reads a key file of tang's.
func ParsePrivate(text []byte) (p Private, err error) {
	var f struct {
		Alg    string   `json:"alg"`
		Crv    string   `json:"crv"`
		D      string   `json:"d"`
		KeyOps []string `json:"key_ops"`
		Kid    string   `json:"kid"`
		Kty    string   `json:"kty"`
		Use    string   `json:"use"`
		X      string   `json:"x"`
		Y      string   `json:"y"`
	}
	if err := strictjson.Decode(bytes.NewReader(text), &f); err != nil {
		return p, err
	}
	p.Key = Key{f.Alg, f.Crv, f.KeyOps, f.Kid, f.Kty, f.Use, f.X, f.Y}
	c, _, err := p.point()
	if err != nil {
		return p, err
	}
	d, err := decode("d", f.D, c.bytes)
	if err != nil {
		return p, err
	}
	p.D = secret.Own(d)
	if err = p.checkPrivate(c); err == nil {
		err = p.checkUse(c)
	}
	if err != nil {
		p.D.Wipe()
	}
	return p, err
}

// checkPrivate: the private part is that of the public one.
func (p Private) checkPrivate(c curve) error {
	d, err := c.ecdh.NewPrivateKey(p.D.Reveal())
	if err != nil {
		return fmt.Errorf("its private part d is no number of the curve %s", p.Crv)
	}
	raw := d.PublicKey().Bytes()[1:]
	if encode(raw[:c.bytes]) != p.X || encode(raw[c.bytes:]) != p.Y {
		return errors.New("its private part d is not that of x and y")
	}
	return nil
}

// checkUse refuses what this server could not use.
func (k Key) checkUse(c curve) error {
	switch {
	case !k.Signs() && !k.Exchanges():
		return errors.New("it is neither for signing and verifying nor for deriving keys (key_ops)")
	case k.Alg == "", k.Alg == algExchange && k.Exchanges(), k.Alg == c.signs && k.Signs():
		return nil
	}
	return fmt.Errorf("its alg is %.16q: on %s and with its key_ops a key is for %s or ECMR", k.Alg, k.Crv, c.signs)
}

// point reads the coordinates: they have their full length (RFC 7518, section
// 6.2.1.2), and crypto/ecdh refuses what is not on the curve.
func (k Key) point() (c curve, p *ecdh.PublicKey, err error) {
	if k.Kty != "EC" {
		return c, nil, fmt.Errorf("its kty is %.16q, want EC", k.Kty)
	}
	if c, err = curveOf(k.Crv); err != nil {
		return c, nil, err
	}
	x, err := decode("x", k.X, c.bytes)
	if err != nil {
		return c, nil, err
	}
	y, err := decode("y", k.Y, c.bytes)
	if err != nil {
		return c, nil, err
	}
	if p, err = c.ecdh.NewPublicKey(slices.Concat([]byte{4}, x, y)); err != nil {
		return c, nil, fmt.Errorf("its point is not on the curve %s", k.Crv)
	}
	return c, p, nil
}

// privateOps are those of key_ops that only the private key does: RFC 7517,
// section 4.3, as jose has them.
var privateOps = []string{"sign", "decrypt", "unwrapKey"}

// permits tells whether a key may be used for an operation, as jose does: one
// that says nothing may do all, unless it is required that it says so.
func (k Key) permits(op string, required bool) bool {
	if k.Use == "" && k.KeyOps == nil {
		return !required
	}
	return slices.Contains(k.KeyOps, op) || k.Use == "sig" && (op == "sign" || op == "verify")
}

// Signs tells whether a key signs advertisements.
func (k Key) Signs() bool { return k.permits("sign", false) && k.permits("verify", false) }

// Exchanges tells whether clients encrypt to a key. (One that does not say
// that it is for that is advertised, and gives nothing: so tang has it.)
func (k Key) Exchanges() bool { return k.permits("deriveKey", false) }

// Public is the key as it is advertised.
func (k Key) Public() Key {
	k.KeyOps = slices.DeleteFunc(slices.Clone(k.KeyOps), func(op string) bool { return slices.Contains(privateOps, op) })
	return k
}

// File is the key as tang keeps it in a file. Clear it.
func (p Private) File() ([]byte, error) {
	public, err := json.Marshal(p.Key)
	if err != nil {
		return nil, err
	}
	const head, tail = `{"d":"`, `",`
	out := make([]byte, 0, len(head)+base64.RawURLEncoding.EncodedLen(p.D.Len())+len(tail)+len(public))
	out = base64.RawURLEncoding.AppendEncode(append(out, head...), p.D.Reveal())
	return append(append(out, tail...), public[1:]...), nil
}

// thumbprints are the hashes that tang takes, by the length of the text.
var thumbprints = map[int]crypto.Hash{27: crypto.SHA1, 38: crypto.SHA224, 43: crypto.SHA256, 64: crypto.SHA384, 86: crypto.SHA512}

// Thumbprint is the name of a key: RFC 7638 with SHA-256.
func (k Key) Thumbprint() string { return k.thumbprint(crypto.SHA256) }

func (k Key) thumbprint(by crypto.Hash) string {
	h := by.New()
	fmt.Fprintf(h, `{"crv":%q,"kty":%q,"x":%q,"y":%q}`, k.Crv, k.Kty, k.X, k.Y)
	return encode(h.Sum(nil))
}

// Named tells whether a thumbprint, by any of the hashes, is the key's.
func (k Key) Named(thumbprint string) bool {
	by, ok := thumbprints[len(thumbprint)]
	return ok && k.thumbprint(by) == thumbprint
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode reads a number of one length in the one form of base64url.
func decode(name, text string, size int) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != size {
		clear(b)
		return nil, fmt.Errorf("its %s is not %d bytes in base64url", name, size)
	}
	return b, nil
}

// Recovers tells whether a point may be multiplied by the key: it says that
// it is for that.
func (k Key) Recovers() bool {
	return k.permits("deriveKey", true) && (k.Alg == "" || k.Alg == algExchange)
}
