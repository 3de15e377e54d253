package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"latchkey/kms"
	"latchkey/unlock/luks2"
)

// A mark is a LUKS2 token that tells whose a keyslot is. It holds nothing
// secret, and nothing is decided by it but what to tidy up.
type mark struct {
	Slot  int // -1: the keyslot was removed
	State string
	Node  kms.NodeID
	KMS   []kms.Pin

	token int
}

// States of a mark.
const (
	markEnrolling = "enrolling" // the KMS has perhaps not taken its key
	markEnrolled  = "enrolled"
)

const markType = "latchkey"

// markJSON is a mark on the disk.
type markJSON struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
	State    string   `json:"state"`
	Node     string   `json:"node"`
	KMS      []string `json:"kms"`
}

func (m mark) json() json.RawMessage {
	out := markJSON{Type: markType, Keyslots: []string{strconv.Itoa(m.Slot)}, State: m.State, Node: m.Node.String()}
	for _, p := range m.KMS {
		out.KMS = append(out.KMS, p.String())
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err) // strings only
	}
	return text
}

// marks are the marks in a header; what does not read as one is left alone.
func marks(h *luks2.Header) (all []mark) {
	for _, t := range h.Tokens() {
		var in markJSON
		if t.Type != markType || json.Unmarshal(t.JSON, &in) != nil || len(t.Keyslots) > 1 {
			continue
		}
		m := mark{Slot: -1, State: in.State, token: t.ID}
		if len(t.Keyslots) == 1 {
			m.Slot = t.Keyslots[0]
		}
		var err error
		if m.Node, err = kms.ParseNodeID(in.Node); err != nil {
			continue
		}
		for _, s := range in.KMS {
			if p, err := kms.ParsePin(s); err == nil {
				m.KMS = append(m.KMS, p)
			}
		}
		all = append(all, m)
	}
	return all
}

// ours tells whether two marks are of one machine with one KMS.
func (m mark) ours(other mark) bool {
	return m.Node == other.Node && slices.ContainsFunc(m.KMS, func(p kms.Pin) bool { return slices.Contains(other.KMS, p) })
}

// sweep removes what earlier runs of this machine left: the KMS has just
// taken the key of m, so it has none of theirs.
func sweep(s luks2.Storage, h *luks2.Header, m mark) (err error) {
	for _, old := range marks(h) {
		if old.token == m.token || old.State != markEnrolling || !old.ours(m) {
			continue
		}
		if h, err = drop(s, h, old); err != nil {
			return err
		}
	}
	return nil
}

// drop removes a keyslot, then its mark.
func drop(s luks2.Storage, h *luks2.Header, m mark) (_ *luks2.Header, err error) {
	if m.Slot >= 0 {
		if h, err = h.RemoveKey(s, m.Slot); err != nil {
			return nil, err
		}
	}
	if m.token < 0 {
		return h, nil
	}
	return h.RemoveToken(s, m.token)
}

// withdraw removes the keyslot that was just added, and its mark.
func withdraw(s luks2.Storage, sizeBytes int64, slot int) error {
	h, err := luks2.Read(s, sizeBytes)
	if err == nil {
		m := mark{Slot: slot, token: -1}
		for _, there := range marks(h) {
			if there.Slot == slot {
				m = there
			}
		}
		_, err = drop(s, h, m)
	}
	if err != nil {
		return fmt.Errorf("keyslot %d is of no use, and stays: %w", slot, err)
	}
	return nil
}
