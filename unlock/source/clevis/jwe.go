package clevis

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"latchkey/internal/secret"
	"latchkey/internal/strictjson"
)

// Bounds of a token: a token of clevis has 2 to 4 KiB, one with three shares
// about 10.
const (
	maxToken = 64 << 10 // bytes
	maxDepth = 3        // of sss in sss
	maxJWEs  = 16       // of all shares together
)

// A jwe is one encrypted message of clevis: RFC 7516 with AES-256-GCM and a
// key that is agreed on or given, never wrapped.
type jwe struct {
	header              header
	protected           string // as it stands: it is authenticated
	iv, ciphertext, tag []byte
}

// A header is what a protected header says, as far as it is read.
type header struct {
	Alg    string `json:"alg"`
	Enc    string `json:"enc"`
	Kid    string `json:"kid"`
	Apu    string `json:"apu"`
	Apv    string `json:"apv"`
	Epk    jwk    `json:"epk"`
	Clevis struct {
		Pin  string `json:"pin"`
		Tang struct {
			URL string `json:"url"`
		} `json:"tang"`
		TPM2 sealedKey `json:"tpm2"`
		SSS  struct {
			JWE []string `json:"jwe"`
			P   string   `json:"p"`
			T   int      `json:"t"`
		} `json:"sss"`
	} `json:"clevis"`
}

// A jwk is a public key on an elliptic curve: RFC 7518, section 6.2.
type jwk struct {
	Alg string `json:"alg,omitempty"`
	Crv string `json:"crv"`
	Kty string `json:"kty"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

var (
	headerKeys = []string{"alg", "enc", "kid", "apu", "apv", "epk", "clevis", "pin", "tang", "url", "sss", "jwe", "p", "t", "crv", "kty", "x", "y", "tpm2", "hash", "key", "jwk_pub", "jwk_priv", "pcr_bank", "pcr_ids"}
	jwkKeys    = []string{"alg", "crv", "kty", "x", "y"}
)

// parseToken reads a token of type clevis: RFC 7516, section 7.2.2.
func parseToken(token json.RawMessage) (*jwe, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(token), maxToken)
	}
	var t struct {
		JWE struct {
			Protected  string `json:"protected"`
			Encrypted  string `json:"encrypted_key"`
			IV         string `json:"iv"`
			Ciphertext string `json:"ciphertext"`
			Tag        string `json:"tag"`
		} `json:"jwe"`
	}
	if err := strictjson.DecodeKnown(token, &t, "jwe", "protected", "encrypted_key", "iv", "ciphertext", "tag"); err != nil {
		return nil, err
	}
	return newJWE(t.JWE.Protected, t.JWE.Encrypted, t.JWE.IV, t.JWE.Ciphertext, t.JWE.Tag)
}

// parseCompact reads a share: RFC 7516, section 7.1.
func parseCompact(s string) (*jwe, error) {
	parts := strings.Split(s, ".")
	if len(parts) != 5 {
		return nil, fmt.Errorf("it has %d parts, want 5", len(parts))
	}
	return newJWE(parts[0], parts[1], parts[2], parts[3], parts[4])
}

func newJWE(protected, encrypted, iv, ciphertext, tag string) (*jwe, error) {
	j := &jwe{protected: protected}
	text, err := decode("protected", protected)
	if err != nil {
		return nil, err
	}
	if err := strictjson.DecodeKnown(text, &j.header, headerKeys...); err != nil {
		return nil, fmt.Errorf("its protected header: %w", err)
	}
	var errs [3]error
	j.iv, errs[0] = decode("iv", iv)
	j.ciphertext, errs[1] = decode("ciphertext", ciphertext)
	j.tag, errs[2] = decode("tag", tag)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}

	switch {
	case j.header.Enc != "A256GCM":
		return nil, fmt.Errorf("it is encrypted by %.16q, want A256GCM", j.header.Enc)
	case encrypted != "":
		return nil, errors.New("its key is wrapped, which clevis does not do")
	case len(j.iv) != 12 || len(j.tag) != 16:
		return nil, fmt.Errorf("its iv has %d bytes and its tag %d, want 12 and 16", len(j.iv), len(j.tag))
	case len(j.ciphertext) == 0:
		return nil, errors.New("it holds nothing")
	}
	return j, nil
}

// decode reads the base64 of JOSE: RFC 7515, section 2.
func decode(field, s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%s is not base64url: %w", field, err)
	}
	return b, nil
}

// open decrypts the message with its content key.
func (j *jwe) open(key []byte) (secret.Bytes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return secret.Bytes{}, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return secret.Bytes{}, err
	}
	sealed := append(append([]byte(nil), j.ciphertext...), j.tag...)
	out, err := gcm.Open(nil, j.iv, sealed, []byte(j.protected))
	if err != nil {
		return secret.Bytes{}, errors.New("its tag does not match: the key is another one")
	}
	return secret.Own(out), nil
}
