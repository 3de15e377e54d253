// Package escrow seals recovery keys of volumes for people: to recipients of
// age whose identities are where no server is, with what the key is for.
package escrow

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/backup"
)

// A Key is a recovery key with what it is for: all of that is sealed, so that
// none of it can be exchanged.
type Key struct {
	Volume  kms.UUID
	Machine kms.NodeID // that made it
	Keyslot int
	Made    time.Time
	Text    secret.Bytes // as it is typed, dashes and all
}

// sealed is a Key as it is sealed.
type sealed struct {
	What    string     `json:"what"` // kind
	Volume  kms.UUID   `json:"volume"`
	Machine kms.NodeID `json:"machine"`
	Keyslot int        `json:"keyslot"`
	Made    time.Time  `json:"made"`
	Text    []byte     `json:"key"`
}

// kind is what a file says that it holds.
const kind = "latchkey recovery key 1"

// maxPlain bounds what is sealed, in bytes.
const maxPlain = 4 << 10

// ErrNotOurs is a file that holds something else than a recovery key.
var ErrNotOurs = errors.New("it holds no recovery key of latchkey's")

// Seal seals a key to people, any of whom opens it.
func Seal(k Key, to []age.Recipient) ([]byte, error) {
	if len(to) == 0 {
		return nil, errors.New("sealing a recovery key: there is nobody to seal it to")
	}
	plain, err := json.Marshal(sealed{kind, k.Volume, k.Machine, k.Keyslot, k.Made.UTC().Truncate(time.Second), k.Text.Reveal()})
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("sealing a recovery key: %w", err)
	}
	if out.Len() > kms.MaxSealedKey {
		return nil, fmt.Errorf("sealing a recovery key: %d bytes are more than a key server keeps, %d: name fewer recipients", out.Len(), kms.MaxSealedKey)
	}
	return out.Bytes(), nil
}

// Open opens a sealed key, armored or not.
func Open(r io.Reader, by []age.Identity) (Key, error) {
	b := bufio.NewReader(r)
	var in io.Reader = b
	if start, _ := b.Peek(len(armor.Header)); string(start) == armor.Header {
		in = armor.NewReader(b)
	}
	if len(by) == 0 {
		return Key{}, fmt.Errorf("opening a sealed recovery key: %w: name an identity", backup.ErrIdentity)
	}
	opened, err := age.Decrypt(in, by...)
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
		return Key{}, fmt.Errorf("opening a sealed recovery key: %w, for other recipients than the identity's", backup.ErrIdentity)
	}
	if err != nil {
		return Key{}, fmt.Errorf("opening a sealed recovery key: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(opened, maxPlain))
	if err != nil {
		return Key{}, fmt.Errorf("opening a sealed recovery key: %w", err)
	}
	defer clear(plain)
	var s sealed
	if err := json.Unmarshal(plain, &s); err != nil || s.What != kind || len(s.Text) == 0 {
		return Key{}, fmt.Errorf("opening a sealed recovery key: %w", ErrNotOurs)
	}
	return Key{s.Volume, s.Machine, s.Keyslot, s.Made, secret.Own(s.Text)}, nil
}

// Digest tells one sealed key from another.
func Digest(sealed []byte) [32]byte { return sha256.Sum256(sealed) }

// Armor is a sealed key as text.
func Armor(sealed []byte) (string, error) {
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	if _, err := w.Write(sealed); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return out.String(), nil
}

// Recipients reads whom to seal to, and checks that one file can be for all.
func Recipients(texts []string) (to []age.Recipient, err error) {
	if len(texts) > kms.MaxRecipients {
		return nil, fmt.Errorf("%d recipients are more than %d", len(texts), kms.MaxRecipients)
	}
	for _, text := range texts {
		r, err := backup.ParseRecipient(text)
		if err != nil {
			return nil, err
		}
		if len(text) > kms.MaxRecipient {
			return nil, fmt.Errorf("a recipient of %d bytes is longer than %d", len(text), kms.MaxRecipient)
		}
		to = append(to, r)
	}
	return to, backup.CheckRecipients(to)
}
