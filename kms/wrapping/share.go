package wrapping

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"latchkey/internal/secret"
	"latchkey/kms/wrapping/shamir"
)

// A SetID names the shares that were made together, and of which others
// know nothing.
type SetID [6]byte

func (s SetID) String() string { return hex.EncodeToString(s[:]) }

// A Share is what one person has of a wrapping key.
type Share struct {
	Set    SetID
	Needed byte // how many give the key
	Number byte // from 1
	y      secret.Bytes
}

// shareText is how a share's text begins.
const shareText = "LKS1"

const (
	shareHead = 8                       // set, needed, number
	shareSize = shareHead + KeySize + 5 // and five bytes that show a mistake
	shareRow  = 6                       // characters between two dashes
)

var alphabet = base32.StdEncoding.WithPadding(base32.NoPadding) // no 0, 1, 8 and 9: RFC 4648, section 6

// Text is a share for paper: letters and digits in groups.
func (s Share) Text() string {
	body := s.body()
	defer clear(body)
	sum := sha256.Sum256(append([]byte("latchkey share 1"), body...))
	text := alphabet.EncodeToString(append(body, sum[:shareSize-len(body)]...))
	parts := []string{shareText}
	for ; len(text) > 0; text = text[min(shareRow, len(text)):] {
		parts = append(parts, text[:min(shareRow, len(text))])
	}
	return strings.Join(parts, "-")
}

func (s Share) body() []byte {
	body := append(make([]byte, 0, shareSize), s.Set[:]...)
	return append(append(body, s.Needed, s.Number), s.y.Reveal()...)
}

// Hash is what a share is recognized by. It gives nobody the share, whose
// 256 bits are random.
func (s Share) Hash() [32]byte {
	body := s.body()
	defer clear(body)
	return sha256.Sum256(append([]byte("latchkey share hash 1"), body...))
}

// ErrNoShare is text that is no share, or one with a mistake in it.
var ErrNoShare = errors.New("it is not a whole share without a mistake")

// ParseShare reads the text of a share; case, spaces and dashes do not count.
func ParseShare(text string) (Share, error) {
	if len(text) > 1024 {
		return Share{}, ErrNoShare
	}
	text = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, strings.ToUpper(text))
	coded, ok := strings.CutPrefix(text, shareText)
	if !ok {
		return Share{}, fmt.Errorf("%w: it does not begin with %s", ErrNoShare, shareText)
	}
	raw, err := alphabet.DecodeString(coded)
	if err != nil || len(coded) != alphabet.EncodedLen(shareSize) {
		return Share{}, fmt.Errorf("%w: it has %d characters after %s, not %d of A to Z and 2 to 7", ErrNoShare, len(coded), shareText, alphabet.EncodedLen(shareSize))
	}
	body := raw[:shareHead+KeySize]
	sum := sha256.Sum256(append([]byte("latchkey share 1"), body...))
	if !bytes.Equal(sum[:shareSize-len(body)], raw[len(body):]) {
		return Share{}, fmt.Errorf("%w: a character is wrong", ErrNoShare)
	}
	return Share{SetID(body[:6]), body[6], body[7], secret.Own(body[shareHead:])}, nil
}

// split makes a set of shares of a key.
func split(key secret.Bytes, needed, of int) ([]Share, error) {
	parts, err := shamir.Split(key, needed, of)
	if err != nil {
		return nil, err
	}
	var set SetID
	copy(set[:], secret.Random(len(set)).Reveal())
	shares := make([]Share, len(parts))
	for i, p := range parts {
		shares[i] = Share{set, byte(needed), p.X, p.Y}
	}
	return shares, nil
}

// combine gives the key of shares of one set.
func combine(shares []Share) (secret.Bytes, error) {
	parts := make([]shamir.Share, len(shares))
	for i, s := range shares {
		parts[i] = shamir.Share{X: s.Number, Y: s.y}
	}
	return shamir.Combine(parts)
}
