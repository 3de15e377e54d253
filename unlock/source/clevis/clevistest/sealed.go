package clevistest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// A Sealed is what clevis says beside a message whose key a TPM sealed.
type Sealed struct{ Hash, Key, Public, Private, Bank, PCRs string }

// Seal encrypts a message by a content key that a TPM sealed, and returns
// what it sealed. Without a private part that is the private part, as the
// TPM of boottest has it.
func (s Sealed) Seal(content []byte) (message, jwk string) {
	key := make([]byte, 32)
	rand.Read(key)
	jwk = fmt.Sprintf("{\"alg\":\"A256GCM\",\"k\":%q,\"key_ops\":[\"encrypt\",\"decrypt\"],\"kty\":\"oct\"}\n", b64(key))
	if s.Private == "" {
		s.Private = TPM2B(jwk)
	}
	policy := ""
	if s.PCRs != "" {
		policy = fmt.Sprintf(`,"pcr_bank":%q,"pcr_ids":%q`, s.Bank, s.PCRs)
	}
	header := fmt.Sprintf(`{"alg":"dir","clevis":{"pin":"tpm2","tpm2":{"hash":%q,"jwk_priv":%q,"jwk_pub":%q,"key":%q%s}},"enc":"A256GCM"}`, s.Hash, s.Private, s.Public, s.Key, policy)
	return Message(header, key, content), jwk
}

// TPM2B is a short text with its length, as TPMs write it, in base64url.
func TPM2B(text string) string { return b64(append([]byte{0, byte(len(text))}, text...)) }

// Digest names the sealed object: SHA-256 of its public area.
func (s Sealed) Digest() string {
	public, err := base64.RawURLEncoding.DecodeString(s.Public)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(public[2:]))
}
