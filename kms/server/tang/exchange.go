package tang

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"fmt"
)

// Exchange is the server's part of the exchange, "ECMR": the point that a
// client sends, times the private key. The client blinded its point, so the
// answer tells nobody else anything.
func Exchange(p Private, point Key) (Key, error) {
	c, at, err := point.point()
	if err != nil {
		return Key{}, fmt.Errorf("reading the point: %w", err)
	}
	if point.Crv != p.Crv {
		return Key{}, fmt.Errorf("reading the point: it is on %s, the key on %s", point.Crv, p.Crv)
	}
	x, y := c.times(at, p.D.Reveal())
	return Key{Alg: algExchange, Crv: p.Crv, KeyOps: []string{"deriveKey"}, Kty: "EC", X: encode(x), Y: encode(y)}, nil
}

// signature is one of a JWS in its JSON forms: RFC 7515, section 7.2.
type signature struct {
	Protected string `json:"protected"`
	Signature string `json:"signature"`
}

// Advertise makes an advertisement: a JWS of the public keys, signed by all of
// some. With one signature it has the flattened form, as jose writes it (RFC
// 7515, section 7.2.2), with more the general one.
func Advertise(keys []Key, signers []Private) ([]byte, error) {
	set := struct {
		Keys []Key `json:"keys"`
	}{[]Key{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	text, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}

	payload := encode(text)
	var all []signature
	for _, s := range signers {
		one, err := s.sign(payload)
		if err != nil {
			return nil, fmt.Errorf("signing the advertisement by %s: %w", s.Thumbprint(), err)
		}
		all = append(all, one)
	}
	if len(all) == 1 {
		return json.Marshal(struct {
			Payload string `json:"payload"`
			signature
		}{payload, all[0]})
	}
	return json.Marshal(struct {
		Payload    string      `json:"payload"`
		Signatures []signature `json:"signatures"`
	}{payload, all})
}

// sign makes a signature: RFC 7518, section 3.4.
func (p Private) sign(payload string) (signature, error) {
	c, err := curveOf(p.Crv)
	if err != nil {
		return signature{}, err
	}
	key, err := ecdsa.ParseRawPrivateKey(c.elliptic, p.D.Reveal())
	if err != nil {
		return signature{}, err
	}
	s := signature{Protected: encode(fmt.Appendf(nil, `{"alg":%q,"cty":"jwk-set+json"}`, c.signs))}
	h := c.hash.New()
	h.Write([]byte(s.Protected + "." + payload))
	r, v, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		return signature{}, err
	}
	raw := make([]byte, 2*c.bytes)
	r.FillBytes(raw[:c.bytes])
	v.FillBytes(raw[c.bytes:])
	s.Signature = encode(raw)
	return s, nil
}
