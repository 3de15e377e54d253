package hook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/secret"
)

// Headers of a signed request: Standard Webhooks 1.0.0, "Webhook headers".
const (
	IDHeader        = "Webhook-Id"
	TimestampHeader = "Webhook-Timestamp" // Unix seconds
	SignatureHeader = "Webhook-Signature"
)

// Prefixes of keys, which base64 follows: Standard Webhooks 1.0.0,
// "Signature scheme".
const (
	hmacPrefix    = "whsec_" // 24 to 64 bytes
	ed25519Prefix = "whsk_"  // a private key: seed, or seed and public key
)

// A Signer signs what is sent to web services.
type Signer struct{ keys []signKey }

// A signKey has one of the two.
type signKey struct {
	hmac    secret.Bytes
	ed25519 ed25519.PrivateKey
}

// ReadSigner reads keys, one a line. While a key is replaced there are two,
// and a request has a signature by each: "Webhook headers", too.
func ReadSigner(text []byte) (*Signer, error) {
	s := &Signer{}
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		k, err := readSignKey(string(line))
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(s.keys)+1, err)
		}
		s.keys = append(s.keys, k)
	}
	if len(s.keys) == 0 || len(s.keys) > maxSignKeys {
		return nil, fmt.Errorf("there are %d keys, not 1 to %d, one a line", len(s.keys), maxSignKeys)
	}
	return s, nil
}

// maxSignKeys is two, and room for a mistake in a replacement.
const maxSignKeys = 4

var errSignKey = errors.New(`write whsec_ and base64 of 24 to 64 random bytes, as { printf whsec_; openssl rand -base64 32; } does, or whsk_ and base64 of an Ed25519 key`)

func readSignKey(line string) (signKey, error) {
	text, symmetric := strings.CutPrefix(line, hmacPrefix)
	text, asymmetric := strings.CutPrefix(text, ed25519Prefix)
	key, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil || symmetric == asymmetric:
		return signKey{}, errSignKey
	case symmetric && len(key) >= 24 && len(key) <= 64:
		return signKey{hmac: secret.Own(key)}, nil
	case asymmetric && (len(key) == ed25519.SeedSize || len(key) == ed25519.PrivateKeySize):
		private := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
		if !bytes.HasPrefix(private, key) {
			return signKey{}, errors.New("the public half of the Ed25519 key is another key's")
		}
		return signKey{ed25519: private}, nil
	}
	return signKey{}, errSignKey
}

// Sign is the signature header: one signature by each key, v1 by HMAC-SHA256
// and v1a by Ed25519, over id, timestamp and body.
func (s *Signer) Sign(id string, at time.Time, body []byte) string {
	content := append([]byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body...)
	var all []string
	for _, k := range s.keys {
		if k.ed25519 != nil {
			all = append(all, "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(k.ed25519, content)))
			continue
		}
		h := hmac.New(sha256.New, k.hmac.Reveal())
		h.Write(content)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(all, " ")
}
