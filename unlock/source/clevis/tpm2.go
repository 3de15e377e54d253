package clevis

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
	"latchkey/unlock/tpm"
)

// An Unsealer gives back what was sealed to it: tpm.TPM.
type Unsealer interface {
	Unseal(ctx context.Context, o tpm.Sealed) (secret.Bytes, error)
}

// A sealedKey is what the pin tpm2 says: src/pins/tpm2/clevis-encrypt-tpm2 of
// clevis. It seals a JWK with the content key.
type sealedKey struct {
	Hash    string `json:"hash"`
	Key     string `json:"key"`      // the storage key's kind
	Public  string `json:"jwk_pub"`  // TPM2B_PUBLIC
	Private string `json:"jwk_priv"` // TPM2B_PRIVATE
	Bank    string `json:"pcr_bank"`
	PCRs    string `json:"pcr_ids"` // with commas; "" is no policy
}

// storageKeys are words of tpm2_createprimary for the kinds that people give
// clevis; the key is made in the owner hierarchy.
var storageKeys = map[string]tpm.Template{
	"ecc": tpm.PlainP256, "ecc256": tpm.PlainP256, "ecc_nist_p256": tpm.PlainP256, "rsa": tpm.PlainRSA2048, "rsa2048": tpm.PlainRSA2048,
}

var banks = map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

// sealed is the object, as data.
func (s sealedKey) sealed() (o tpm.Sealed, err error) {
	var known bool
	if o.Parent.Template, known = storageKeys[s.Key]; !known {
		return o, fmt.Errorf("its storage key is of the kind %.20q, want ecc or rsa", s.Key)
	}
	if s.Hash != "sha256" {
		return o, fmt.Errorf("its hash is %.20q, want sha256", s.Hash)
	}
	if o.Public, err = sized("jwk_pub", s.Public); err != nil {
		return o, err
	}
	if o.Private, err = sized("jwk_priv", s.Private); err != nil {
		return o, err
	}
	if s.PCRs == "" {
		return o, nil
	}
	p := tpm.PCRs{Bank: banks[s.Bank]}
	if p.Bank == 0 {
		return o, fmt.Errorf("its bank of PCRs is %.20q, want sha1, sha256, sha384 or sha512", s.Bank)
	}
	for text := range strings.SplitSeq(s.PCRs, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 8)
		if err != nil || n > 23 {
			return o, fmt.Errorf("its PCRs are %.80q, want numbers from 0 to 23", s.PCRs)
		}
		p.PCRs = append(p.PCRs, int(n))
	}
	o.Policy = []tpm.Policy{p}
	return o, nil
}

// sized is the content of a TPM2B: Part 2, section 10.4.
func sized(field, text string) ([]byte, error) {
	b, err := decode(field, text)
	if err != nil {
		return nil, err
	}
	if len(b) < 2 || int(binary.BigEndian.Uint16(b)) != len(b)-2 {
		return nil, fmt.Errorf("%s has not the length that it says", field)
	}
	return b[2:], nil
}

// digest names a sealed object: SHA-256 of its public area, in hex. That has
// a hash of the secret and of a random number in it, and the policy.
func (s sealedKey) digest() string {
	public, _ := sized("jwk_pub", s.Public)
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:])
}

// tpm2 judges a message whose key is sealed to the TPM.
func (g *judging) tpm2(j *jwe) (pin, error) {
	s := j.header.Clevis.TPM2
	o, err := s.sealed()
	switch {
	case err != nil:
		return nil, codes.Fail(CodeToken, "%w", err)
	case j.header.Alg != "dir":
		return nil, codes.Fail(CodeToken, "its alg is %.16q, want dir", j.header.Alg)
	case !slices.Contains(g.Sealed, s.digest()):
		return nil, codes.Fail(CodeToken, "the plan does not allow its sealed secret %s", s.digest())
	}
	return func(ctx context.Context) (secret.Bytes, error) {
		chip, err := g.TPM(ctx)
		if err != nil {
			return secret.Bytes{}, err
		}
		text, err := chip.Unseal(ctx, o)
		if err != nil {
			return secret.Bytes{}, err
		}
		defer text.Wipe()
		key, err := octets(text)
		if err != nil {
			return secret.Bytes{}, codes.Fail(CodeToken, "what the TPM unsealed: %w", err)
		}
		defer key.Wipe()
		out, err := j.open(key.Reveal())
		if err != nil {
			return secret.Bytes{}, codes.Fail(CodeToken, "%w", err)
		}
		return out, nil
	}, nil
}

// octets is the key of a JWK of kind oct: RFC 7518, section 6.4.
func octets(text secret.Bytes) (secret.Bytes, error) {
	var k struct {
		Kty string          `json:"kty"`
		K   json.RawMessage `json:"k"`
	}
	defer func() { clear(k.K) }()
	if err := strictjson.DecodeKnown(text.Reveal(), &k, "kty", "k"); err != nil {
		return secret.Bytes{}, err
	}
	if k.Kty != "oct" || len(k.K) < 2 || k.K[0] != '"' {
		return secret.Bytes{}, errors.New("it is no JWK of kind oct")
	}
	in := k.K[1 : len(k.K)-1]
	key := secret.Make(base64.RawURLEncoding.DecodedLen(len(in)))
	if n, err := base64.RawURLEncoding.Strict().Decode(key.Reveal(), in); err != nil || n != 32 {
		key.Wipe()
		return secret.Bytes{}, errors.New("its key is not of 256 bits")
	}
	return key, nil
}
