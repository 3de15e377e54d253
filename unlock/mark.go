package unlock

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"

	"latchkey/kms"
	"latchkey/unlock/luks2"
)

// A Mark is a LUKS2 token of type "latchkey" that tells whose a keyslot is.
// It holds nothing secret, and nothing is decided by it but what to tidy up.
type Mark struct {
	Slot     int // -1: the keyslot was removed
	State    string
	Replaces int      // keyslot that a rotation removes, -1 for none
	Was      string   // its fingerprint: the number may be another keyslot's by now
	Mode     kms.Kind // zero: not told
	Node     kms.NodeID
	KMS      []kms.Pin // of a rotation: the one whose it is

	Token int // ID, of a mark that is in a header
}

// States of a Mark.
const (
	MarkEnrolling = "enrolling" // the KMS has perhaps not taken its key
	MarkRotating  = "rotating"  // the KMS has perhaps not committed its key
	MarkEnrolled  = "enrolled"
)

const markType = "latchkey"

// markJSON is a Mark on the disk.
type markJSON struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
	State    string   `json:"state"`
	Replaces string   `json:"replaces,omitempty"`
	Was      string   `json:"replaces-salt,omitempty"`
	Mode     string   `json:"mode,omitempty"`
	Node     string   `json:"node"`
	KMS      []string `json:"kms"`
}

// JSON is the token's text.
func (m Mark) JSON() json.RawMessage {
	out := markJSON{Type: markType, Keyslots: []string{strconv.Itoa(m.Slot)}, State: m.State, Node: m.Node.String()}
	if m.State == MarkRotating && m.Replaces >= 0 {
		out.Replaces, out.Was = strconv.Itoa(m.Replaces), m.Was
	}
	if m.Mode != 0 {
		out.Mode = m.Mode.String()
	}

	for _, p := range m.KMS {
		out.KMS = append(out.KMS, p.String())
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err) // strings only
	}

	return text
}

// Marks are the marks in a header; what does not read as one is left alone.
func Marks(h *luks2.Header) (all []Mark) {
	for _, t := range h.Tokens() {
		var in markJSON
		if t.Type != markType || json.Unmarshal(t.JSON, &in) != nil || len(t.Keyslots) > 1 {
			continue
		}

		m := Mark{Slot: -1, State: in.State, Replaces: -1, Was: in.Was, Token: t.ID}
		if len(t.Keyslots) == 1 {
			m.Slot = t.Keyslots[0]
		}
		if n, err := strconv.Atoi(in.Replaces); err == nil {
			m.Replaces = n
		}

		for _, mode := range []kms.Kind{kms.Static, kms.Bound} {
			if in.Mode == mode.String() {
				m.Mode = mode
			}
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

// Bound tells whether a header says that a keyslot's secret is sealed to
// this machine's TPM.
func Bound(h *luks2.Header) bool {
	return slices.ContainsFunc(Marks(h), func(m Mark) bool { return m.Mode == kms.Bound })
}

// Ours tells whether two marks are of one machine with one KMS.
func (m Mark) Ours(other Mark) bool {
	return m.Node == other.Node && slices.ContainsFunc(m.KMS, func(p kms.Pin) bool { return slices.Contains(other.KMS, p) })
}

// replaces tells whether the keyslot that a rotation is to remove is there:
// the very one, not another that has its number by now.
func (m Mark) replaces(h *luks2.Header) bool {
	return m.Was != "" && m.Was == fingerprint(h, m.Replaces)
}

// Fingerprint is what marks and tokens remember of a keyslot, "" if there is
// none: its number may be another keyslot's later.
func Fingerprint(h *luks2.Header, slot int) string { return fingerprint(h, slot) }

func fingerprint(h *luks2.Header, slot int) string {
	for _, k := range h.Keyslots() {
		if k.ID == slot {
			sum := k.Fingerprint()
			return hex.EncodeToString(sum[:16])
		}
	}
	return ""
}

// Drop removes a mark's keyslot and the mark, in one change. Its Token is
// negative if it is in no header.
func (m Mark) Drop(s luks2.Storage, h *luks2.Header) (*luks2.Header, error) {
	switch {
	case m.Slot >= 0 && m.Token >= 0:
		return h.RemoveKey(s, m.Slot, m.Token)
	case m.Slot >= 0:
		return h.RemoveKey(s, m.Slot)
	case m.Token >= 0:
		return h.RemoveToken(s, m.Token)
	}
	return h, nil
}
