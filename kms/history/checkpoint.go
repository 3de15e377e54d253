package history

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Head is what a checkpoint says: how many events a log has, and the root
// of the tree over them.
type Head struct {
	Origin string // of the log; the name of its key, too
	Size   uint64
	Root   tlog.Hash
}

// ErrUnsigned is a checkpoint that none of the known keys has signed.
var ErrUnsigned = errors.New("the checkpoint is not signed by a key of this KMS")

// text is the body of the note: C2SP tlog-checkpoint.
func (h Head) text() string { return fmt.Sprintf("%s\n%d\n%s\n", h.Origin, h.Size, h.Root) }

// Sign is the checkpoint: a note with one signature.
func (h Head) Sign(key ed25519.PrivateKey) (string, error) {
	v, err := verifier(h.Origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return "", fmt.Errorf("signing a checkpoint: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: h.text()}, signer{v, key})
	if err != nil {
		return "", fmt.Errorf("signing a checkpoint: %w", err)
	}
	return string(signed), nil
}

// signer is note.Signer for a key that we hold.
type signer struct {
	note.Verifier
	key ed25519.PrivateKey
}

// Sign implements note.Signer.
func (s signer) Sign(message []byte) ([]byte, error) { return ed25519.Sign(s.key, message), nil }

func verifier(origin string, key ed25519.PublicKey) (note.Verifier, error) {
	text, err := note.NewEd25519VerifierKey(origin, key)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(text)
}

// VerifierKey is a log's key as others' programs take it: name, key id and
// key, with plus signs between (C2SP signed-note, "vkey").
func VerifierKey(origin string, key ed25519.PublicKey) (string, error) {
	return note.NewEd25519VerifierKey(origin, key)
}

// Parse reads a checkpoint, and verifies nothing.
func Parse(checkpoint string) (h Head, err error) {
	body, _, signed := strings.Cut(checkpoint, "\n\n")
	lines := strings.Split(body, "\n")
	if !signed || len(lines) < 3 || lines[0] == "" {
		return h, errors.New("it is no checkpoint: want an origin, a size, a root and signatures")
	}
	h.Origin = lines[0]
	if h.Size, err = strconv.ParseUint(lines[1], 10, 62); err != nil || strconv.FormatUint(h.Size, 10) != lines[1] {
		return Head{}, fmt.Errorf("it is no checkpoint: %.20q is no number of events", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Head{}, fmt.Errorf("it is no checkpoint: %.60q is no root", lines[2])
	}
	h.Root = tlog.Hash(root)
	return h, nil
}

// Open reads a checkpoint that one of the keys must have signed; others'
// signatures may stand beside.
func Open(checkpoint string, keys ...ed25519.PublicKey) (Head, error) {
	h, err := Parse(checkpoint)
	if err != nil {
		return h, err
	}
	var known []note.Verifier
	for _, key := range keys {
		v, err := verifier(h.Origin, key)
		if err != nil {
			return Head{}, fmt.Errorf("reading a checkpoint of %.60q: %w", h.Origin, err)
		}
		known = append(known, v)
	}
	n, err := note.Open([]byte(checkpoint), note.VerifierList(known...))
	if err != nil {
		return Head{}, fmt.Errorf("reading a checkpoint of %.60q: %w: %w", h.Origin, ErrUnsigned, err)
	}
	if !strings.HasPrefix(n.Text, h.text()) {
		return Head{}, fmt.Errorf("reading a checkpoint of %.60q: %w", h.Origin, ErrUnsigned)
	}
	return h, nil
}

// ParseAll reads checkpoints that stand one after the other, as "audit
// segments --checkpoint" prints them where several servers share a store. If
// there are keys, one of them must have signed each.
func ParseAll(text string, keys ...ed25519.PublicKey) (all []Head, err error) {
	read := Parse
	if len(keys) > 0 {
		read = func(checkpoint string) (Head, error) { return Open(checkpoint, keys...) }
	}
	var one strings.Builder
	signatures := false
	for line := range strings.Lines(text + "\n") {
		if signed := strings.HasPrefix(line, "— "); signatures && !signed && one.Len() > 0 {
			h, err := read(one.String())
			if err != nil {
				return nil, err
			}
			all = append(all, h)
			one.Reset()
			signatures = false
		} else if signed {
			signatures = true
		}
		one.WriteString(line)
	}
	if len(all) == 0 {
		return nil, errors.New("it is no checkpoint: want an origin, a size, a root and signatures")
	}
	return all, nil
}
