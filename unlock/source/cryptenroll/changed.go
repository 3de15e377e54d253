package cryptenroll

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pcrValues are PCRs of the SHA-256 bank, in hex, that a token notes. They
// decide nothing: the TPM does.
type pcrValues map[int]string

// changed says which PCRs have other values than the token notes, "" if it
// notes none or cannot tell.
func (t *token) changed(ctx context.Context, chip any) string {
	r, ok := chip.(Reader)
	if !ok {
		return ""
	}
	var words []string
	for _, n := range slices.Sorted(maps.Keys(t.Was)) {
		if !slices.Contains(t.PCRs, n) || len(words) == maxPCRs {
			continue
		}
		now, err := r.ReadPCR(ctx, n)
		if is := hex.EncodeToString(now[:]); err == nil && is != t.Was[n] {
			words = append(words, fmt.Sprintf("PCR %d was %.16q and is %.16q", n, t.Was[n], is))
		}
	}
	return strings.Join(words, ", ")
}

// A Sealing is what a token says of the policy that it was sealed to.
type Sealing struct {
	Request
	// Was are the values that the PCRs had, or are to have, in hex; empty if
	// the token does not tell.
	Was map[int]string
}

// Read reads a token, to seal another secret like it.
func Read(text json.RawMessage) (Sealing, error) {
	t, err := parseToken(text)
	if err != nil {
		return Sealing{}, err
	}
	if t.PIN {
		return Sealing{}, errors.New("it wants a PIN: systemd-cryptenroll seals it anew")
	}
	s := Sealing{Request: Request{PCRs: t.PCRs, Signed: t.Signed, Replaces: t.Replaces}, Was: t.Was}
	if len(t.Signed) > 0 {
		s.Key, err = decode("tpm2_pubkey", t.PubKey)
	}
	return s, err
}

// Settled is the token without the note of what it replaces.
func Settled(text json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	delete(fields, "latchkey_replaces")
	return json.Marshal(fields)
}
