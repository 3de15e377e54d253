// Package together makes the passphrase of a keyslot from what several
// sources yield, so that none of them opens it alone: a key server and the
// TPM, say. A token of our own beside the keyslot names them.
package together

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"latchkey/internal/strictjson"
	"latchkey/unlock/luks2"
)

// TokenType is that of our tokens. No other program opens a volume by one.
const TokenType = "latchkey-together"

// Kinds of members, as tokens and plans name them.
const (
	KMS     = "kms"
	TPM     = "systemd-tpm2"
	KeyFile = "key-file"
)

// Kinds are all of them, in the order that tokens have.
var Kinds = []string{KeyFile, KMS, TPM}

// Bounds of a token: one with a sealed secret and the key that signs its PCRs
// has about 3 KiB.
const (
	maxToken  = 20 << 10 // bytes
	saltBytes = 32
)

// kdf is how the passphrase is derived; see Token.Passphrase.
const kdf = "hkdf-sha256"

// Enrolling is the state of a token whose key the key server has perhaps not
// taken.
const Enrolling = "enrolling"

// A Token names the sources that open a keyslot together. All of it may have
// been written by anybody: what it says is only a way to try.
type Token struct {
	ID, Slot int
	Members  []string // some of Kinds, in their order
	Salt     []byte
	// Sealed is what the TPM keeps, as systemd's tokens have it: set if TPM is
	// a member. What it gives opens nothing alone.
	Sealed json.RawMessage
	State  string // "" or Enrolling
}

// tokenJSON is a Token on the disk.
type tokenJSON struct {
	Type     string          `json:"type"`
	Keyslots []string        `json:"keyslots"`
	KDF      string          `json:"kdf"`
	Members  []string        `json:"members"`
	Salt     string          `json:"salt"`
	Sealed   json.RawMessage `json:"tpm2,omitempty"`
	State    string          `json:"state,omitempty"`
}

// JSON is the token's text.
func (t Token) JSON() json.RawMessage {
	text, err := json.Marshal(tokenJSON{TokenType, []string{strconv.Itoa(t.Slot)}, kdf, t.Members, base64.StdEncoding.EncodeToString(t.Salt), t.Sealed, t.State})
	if err != nil {
		panic(err) // strings and what was JSON before
	}
	return text
}

// Parse reads a token of a header.
func Parse(in luks2.Token) (Token, error) {
	t := Token{ID: in.ID}
	if len(in.JSON) > maxToken {
		return t, fmt.Errorf("it has %d bytes, the limit is %d", len(in.JSON), maxToken)
	}
	var j tokenJSON
	if err := strictjson.DecodeKnown(in.JSON, &j, "type", "keyslots", "kdf", "members", "salt", "tpm2", "state"); err != nil {
		return t, err
	}
	salt, err := base64.StdEncoding.Strict().DecodeString(j.Salt)
	switch {
	case j.Type != TokenType:
		return t, fmt.Errorf("its type is %.40q", j.Type)
	case len(in.Keyslots) != 1:
		return t, fmt.Errorf("it is for %d keyslots, want one", len(in.Keyslots))
	case j.KDF != kdf:
		return t, fmt.Errorf("kdf is %.40q, want %s: was it made by a later latchkey?", j.KDF, kdf)
	case err != nil || len(salt) != saltBytes:
		return t, fmt.Errorf("salt is not %d bytes of base64", saltBytes)
	case j.State != "" && j.State != Enrolling:
		return t, fmt.Errorf("state is %.40q", j.State)
	}
	if err := CheckMembers(j.Members); err != nil {
		return t, err
	}
	if (len(j.Sealed) > 0) != slices.Contains(j.Members, TPM) {
		return t, fmt.Errorf("tpm2 does not go with members %q", j.Members)
	}
	t.Slot, t.Members, t.Salt, t.Sealed, t.State = in.Keyslots[0], j.Members, salt, j.Sealed, j.State
	return t, nil
}

// Secret is what the TPM keeps, as a token of systemd's for the keyslot. In a
// header it is none: what it gives is a part.
func (t Token) Secret() luks2.Token {
	return luks2.Token{ID: t.ID, Type: TPM, Keyslots: []int{t.Slot}, JSON: t.Sealed}
}

// Known tells whether the key server is a member, which knows the volume: then
// the plan need not name the secret of the TPM.
func (t Token) Known() bool { return slices.Contains(t.Members, KMS) }

// CheckMembers wants two or more kinds, each once, in the order of Kinds.
func CheckMembers(members []string) error {
	if len(members) < 2 || len(members) > len(Kinds) {
		return fmt.Errorf("there are %d members, want 2 to %d", len(members), len(Kinds))
	}
	last := -1
	for _, m := range members {
		i := slices.Index(Kinds, m)
		switch {
		case i < 0:
			return fmt.Errorf("the member %.40q is not known", m)
		case i == last:
			return fmt.Errorf("the member %s stands twice", m)
		case i < last:
			return errors.New("the members are not in alphabetical order")
		}
		last = i
	}
	return nil
}
