package cryptenroll

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

	"latchkey/internal/pcr"
	"latchkey/internal/strictjson"
	"latchkey/unlock/tpm"
)

// Bounds of a token: systemd's have about 1 KiB, and 2 more with a key that
// signs PCRs.
const (
	maxToken  = 16 << 10 // bytes
	maxText   = 8 << 10  // bytes of one field
	maxPCRs   = 24       // in one list
	maxHandle = 1 << 10  // bytes of tpm2_srk
)

// A token is one of type systemd-tpm2, as systemd 252 to 257 write it
// (src/shared/tpm2-util.c, tpm2_make_luks2_json).
type token struct {
	Blob    json.RawMessage `json:"tpm2-blob"`     // base64; several for several policies that must all be met
	PCRs    []int           `json:"tpm2-pcrs"`     // whose values must be as they were
	Bank    string          `json:"tpm2-pcr-bank"` // of both lists
	Primary string          `json:"tpm2-primary-alg"`
	PIN     bool            `json:"tpm2-pin"`
	PCRLock bool            `json:"tpm2_pcrlock"`
	Signed  []int           `json:"tpm2_pubkey_pcrs"` // whose values are signed
	PubKey  string          `json:"tpm2_pubkey"`      // base64 of PEM
	SRK     string          `json:"tpm2_srk"`         // base64; from systemd 254 on
	Salt    string          `json:"tpm2_salt"`        // base64, of the PIN; from systemd 253 on

	// Ours, which systemd passes over: to say what changed, and what is to go,
	// and the same secret once more, where a power cut does not lock it.
	Was      pcrValues `json:"latchkey_pcrs"`
	Replaces *Replaced `json:"latchkey_replaces"`
	Ours     *ours     `json:"latchkey_sealed"`

	values map[int][32]byte // to seal to
	sealed tpm.Sealed
	signer Key
	salt   []byte
}

var tokenKeys = []string{"tpm2-blob", "tpm2-pcrs", "tpm2-pcr-bank", "tpm2-primary-alg", "tpm2-pin", "tpm2_pcrlock", "tpm2_pubkey_pcrs", "tpm2_pubkey", "tpm2_srk", "tpm2_salt", "latchkey_pcrs", "latchkey_replaces", "latchkey_sealed"}

// parseToken reads a token and says what there is to satisfy. What this init
// cannot do is named. The token's own tpm2-policy-hash is not read: it stands
// in the sealed object.
func parseToken(text json.RawMessage) (*token, error) {
	if len(text) > maxToken {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(text), maxToken)
	}
	var t token
	if err := strictjson.DecodeKnown(text, &t, tokenKeys...); err != nil {
		return nil, err
	}
	if t.PCRLock {
		return nil, errors.New("it wants a policy of systemd-pcrlock, which this init does not read: enroll again with --tpm2-pcrs= or --tpm2-public-key=")
	}
	for _, step := range []func() error{t.readBlob, t.readParent, t.readOurs, t.readSalt, t.readPolicy} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &t, nil
}

// readBlob cuts the blob into TPM2B_PRIVATE and TPM2B_PUBLIC.
func (t *token) readBlob() (err error) {
	var text string
	if err := json.Unmarshal(t.Blob, &text); err != nil {
		var several []string
		if json.Unmarshal(t.Blob, &several) == nil && len(several) > 1 {
			return fmt.Errorf("it has %d blobs, as with --tpm2-pcrlock= and --tpm2-public-key= at once; this init opens one", len(several))
		}
		return errors.New("tpm2-blob is missing or no text")
	}
	t.sealed.Private, t.sealed.Public, err = cutBlob("tpm2-blob", text)
	return err
}

// cutBlob cuts TPM2B_PRIVATE and TPM2B_PUBLIC.
func cutBlob(field, text string) (private, public []byte, err error) {
	blob, err := decode(field, text)
	if err != nil {
		return nil, nil, err
	}
	private, rest, ok := cut(blob)
	if ok {
		public, rest, ok = cut(rest)
	}
	switch {
	case !ok:
		return nil, nil, errors.New(field + " is cut short")
	case len(rest) > 0:
		return nil, nil, errors.New("its secret was sealed for this TPM elsewhere (--tpm2-device-key=), which this init does not open: enroll on the machine")
	}
	return private, public, nil
}

// ours is the token's secret sealed again, under the storage root key that is
// made of the TCG's template: unlike the one of tpm2-blob it is not subject to
// the TPM's dictionary-attack protection.
type ours struct {
	Blob   string `json:"blob"`   // base64, as tpm2-blob
	Parent string `json:"parent"` // base64, the storage key's name
}

// readOurs takes our own copy of the secret for the one of systemd's.
func (t *token) readOurs() (err error) {
	if t.Ours == nil {
		return nil
	}
	if t.sealed.Private, t.sealed.Public, err = cutBlob("latchkey_sealed.blob", t.Ours.Blob); err != nil {
		return err
	}
	name, err := decode("latchkey_sealed.parent", t.Ours.Parent)
	if err != nil {
		return err
	}
	t.sealed.Parent = tpm.Parent{Template: tpm.SRKP256, Name: name}
	if t.Primary == "rsa" {
		t.sealed.Parent.Template = tpm.SRKRSA2048
	}
	return nil
}

// readSalt reads the salt of the PIN, if there is one.
func (t *token) readSalt() (err error) {
	if t.PIN && t.Salt != "" {
		t.salt, err = decode("tpm2_salt", t.Salt)
	}
	return err
}

// readParent finds the storage key. Tokens of systemd 252 and 253 do not
// name one: it was made from a template.
func (t *token) readParent() error {
	if t.SRK == "" {
		switch t.Primary {
		case "ecc", "":
			t.sealed.Parent.Template = tpm.PlainP256
		case "rsa":
			t.sealed.Parent.Template = tpm.PlainRSA2048
		default:
			return fmt.Errorf("tpm2-primary-alg is %.16q, want ecc or rsa", t.Primary)
		}
		return nil
	}
	// A TPM handle and its name begin what Esys_TR_Serialize of tpm2-tss
	// writes (src/tss2-esys/esys_mu.c).
	raw, err := decode("tpm2_srk", t.SRK)
	if err != nil {
		return err
	}
	if len(raw) < 6 || len(raw) > maxHandle {
		return fmt.Errorf("tpm2_srk has %d bytes", len(raw))
	}
	name, _, ok := cut(raw[4:])
	if !ok || len(name) == 0 {
		return errors.New("tpm2_srk has no name of a key")
	}
	t.sealed.Parent = tpm.Parent{Handle: binary.BigEndian.Uint32(raw), Name: name}
	return nil
}

// readPolicy is the order of tpm2_calculate_sealing_policy in systemd's
// src/shared/tpm2-util.c.
func (t *token) readPolicy() error {
	if t.Bank == "" {
		t.Bank = "sha256"
	}
	bank := pcr.Bank(t.Bank)
	if bank == 0 {
		return fmt.Errorf("tpm2-pcr-bank is %.16q, want sha1, sha256, sha384 or sha512", t.Bank)
	}
	for _, list := range [][]int{t.PCRs, t.Signed} {
		if len(list) > maxPCRs || slices.ContainsFunc(list, func(n int) bool { return n < 0 || n > 23 }) {
			return fmt.Errorf("its PCRs are %.80s, want some of 0 to 23", fmt.Sprint(list))
		}
	}

	if len(t.Signed) > 0 {
		text, err := decode("tpm2_pubkey", t.PubKey)
		if err != nil {
			return err
		}
		if t.signer, err = ParseKey(text); err != nil {
			return fmt.Errorf("tpm2_pubkey: %w", err)
		}
	}
	t.sealed.Policy = t.policy(bank)
	return nil
}

func (t *token) policy(bank crypto.Hash) (steps []tpm.Policy) {
	if len(t.Signed) > 0 {
		steps = append(steps, tpm.SignedPCRs{PCRs: tpm.PCRs{Bank: bank, PCRs: t.Signed}, Modulus: t.signer.Modulus, Exponent: t.signer.Exponent})
	}
	if len(t.PCRs) > 0 {
		steps = append(steps, tpm.PCRs{Bank: bank, PCRs: t.PCRs, Values: t.values})
	}
	if t.PIN {
		steps = append(steps, tpm.PIN{})
	}
	return steps
}

// digest is what the plan knows a sealed secret by: SHA-256 of its public
// part, in hex. Its policy and a hash of the secret itself are in there.
func (t *token) digest() string {
	sum := sha256.Sum256(t.sealed.Public)
	return hex.EncodeToString(sum[:])
}

func (t *token) allowed(list []string, pinned bool) error {
	if !pinned && !slices.Contains(list, t.digest()) {
		return fmt.Errorf("the plan does not allow its sealed secret %s", t.digest())
	}
	return nil
}

func decode(field, text string) ([]byte, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%s has %d bytes, the limit is %d", field, len(text), maxText)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("%s is no base64", field)
	}
	return raw, nil
}

// cut takes a field with a length of two bytes off b.
func cut(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return nil, nil, false
	}
	return bytes.Clone(b[2:n]), b[n:], true
}
