package talos

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"latchkey/internal/strictjson"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// Types of tokens: internal/pkg/encryption/keys/token.go of Talos.
const (
	TokenKMS = "sideroKMS"
	TokenTPM = "talos-tpm2"
)

// Bounds of a token: one of a KMS has some hundred bytes, and of a TPM about
// 700.
const (
	maxToken = 16 << 10 // bytes
	maxBlob  = 8 << 10  // bytes of what a KMS sealed
	maxPCRs  = 24
)

// A token is one of either type, as Talos writes it by go-blockdevice
// (encryption/luks/token.go). Its list of keyslots is empty: it is for the
// keyslot of its own number.
type token struct {
	User struct {
		// Of a KMS.
		Sealed string `json:"sealedData"` // base64
		// Of a TPM: internal/pkg/encryption/keys/tpm2.go.
		Private string `json:"sealed_blob_private"` // base64 of TPM2B_PRIVATE
		Public  string `json:"sealed_blob_public"`  // base64 of TPM2B_PUBLIC
		Name    string `json:"key_name"`            // base64 of TPM2B_NAME, of the storage key
		PCRs    []int  `json:"pcrs"`
		Signed  []int  `json:"pubkey_pcrs"`
		Alg     string `json:"alg"`
		// Version is "" before Talos 1.12, which wrote the signed PCR as "pcrs"
		// and bound to PCR 7 besides; then "1".
		Version string `json:"encryption_version"`
	} `json:"UserData"`

	blob   []byte // what the KMS sealed
	sealed tpm.Sealed
}

var tokenKeys = []string{"UserData", "sealedData", "sealed_blob_private", "sealed_blob_public", "key_name", "pcrs", "pubkey_pcrs", "alg", "encryption_version"}

// The PCRs of Talos before 1.12: constants.UKIPCR and SecureBootStatePCR.
const (
	ukiPCR        = 11
	secureBootPCR = 7
)

// parseToken reads a token of one of the types.
func parseToken(kind string, text json.RawMessage) (*token, error) {
	if len(text) > maxToken {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(text), maxToken)
	}
	var t token
	if err := strictjson.DecodeKnown(text, &t, tokenKeys...); err != nil {
		return nil, err
	}
	if kind == TokenTPM {
		return &t, t.readTPM()
	}
	var err error
	if t.blob, err = decode("sealedData", t.User.Sealed); err == nil && len(t.blob) > maxBlob {
		err = fmt.Errorf("sealedData has %d bytes, the limit is %d", len(t.blob), maxBlob)
	}
	return &t, err
}

func (t *token) readTPM() (err error) {
	u := &t.User
	if t.sealed.Private, err = sized("sealed_blob_private", u.Private); err != nil {
		return err
	}
	if t.sealed.Public, err = sized("sealed_blob_public", u.Public); err != nil {
		return err
	}
	name, err := sized("key_name", u.Name)
	if err != nil {
		return err
	}
	t.sealed.Parent = tpm.Parent{Template: tpm.SRKP256, Name: name}

	switch {
	case u.Version == "":
		u.Signed, u.PCRs = []int{ukiPCR}, []int{secureBootPCR}
	case u.Version != "1":
		return fmt.Errorf("its encryption_version is %.16q, want 1: this init is older than that Talos", u.Version)
	}
	if u.Alg != "" && u.Alg != "sha256" {
		return fmt.Errorf("its alg is %.16q, want sha256", u.Alg)
	}
	for _, list := range []*[]int{&u.PCRs, &u.Signed} {
		if len(*list) > maxPCRs || slices.ContainsFunc(*list, func(n int) bool { return n < 0 || n > 23 }) {
			return fmt.Errorf("its PCRs are %.80s, want some of 0 to 23", fmt.Sprint(*list))
		}
		*list = slices.Compact(slices.Sorted(slices.Values(*list)))
	}
	return nil
}

// policy is what the TPM asks for: what Talos' CalculateSealingPolicyDigest
// has (internal/pkg/secureboot/tpm2/policy.go), with the key that signs PCRs.
// Why there is no signature is left in missing.
func (t *token) policy(signer Signer, missing *error) (steps []tpm.Policy) {
	if len(t.User.Signed) > 0 {
		steps = append(steps, tpm.SignedPCRs{
			PCRs:    tpm.PCRs{Bank: crypto.SHA256, PCRs: t.User.Signed},
			Modulus: signer.Modulus, Exponent: signer.Exponent,
			Signature: func(policy [32]byte) (sig []byte) {
				sig, *missing = signer.Find(t.User.Signed, policy)
				return sig
			},
		})
	}
	if len(t.User.PCRs) > 0 {
		steps = append(steps, tpm.PCRs{Bank: crypto.SHA256, PCRs: t.User.PCRs})
	}
	return steps
}

// digest is what the plan knows the token by: SHA-256, in hex, of what the KMS
// sealed, or of the public part of what the TPM did. Anybody may have a KMS
// seal a key of theirs for this machine, which proves nothing when it asks.
func (t *token) digest() string {
	sum := sha256.Sum256(t.blob)
	if t.blob == nil {
		sum = sha256.Sum256(t.sealed.Public)
	}
	return hex.EncodeToString(sum[:])
}

func (t *token) allowed(list []string, pinned bool) error {
	if !pinned && !slices.Contains(list, t.digest()) {
		return fmt.Errorf("the plan does not allow what it has sealed, %s", t.digest())
	}
	return nil
}

// tokensOf are the tokens of a type that are for a keyslot that there is.
func tokensOf(h *luks2.Header, kind string) (all []luks2.Token) {
	for _, t := range h.Tokens() {
		if t.Type == kind && slices.ContainsFunc(h.Keyslots(), func(k luks2.Keyslot) bool { return k.ID == t.ID }) {
			all = append(all, t)
		}
	}
	return all
}

func decode(field, text string) ([]byte, error) {
	if len(text) > maxToken {
		return nil, fmt.Errorf("%s has %d bytes, the limit is %d", field, len(text), maxToken)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("%s is missing or no base64", field)
	}
	return raw, nil
}

// sized is the content of a TPM2B: Part 2, section 10.4.
func sized(field, text string) ([]byte, error) {
	b, err := decode(field, text)
	if err != nil {
		return nil, err
	}
	if len(b) < 3 || int(binary.BigEndian.Uint16(b)) != len(b)-2 {
		return nil, errors.New(field + " has not the length that it says")
	}
	return bytes.Clone(b[2:]), nil
}
