package together

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// Codes of this package.
const (
	CodeToken = "together-token" // no token of the volume goes with what the plan allows: final
	CodeWrong = "together-wrong" // no keyslot takes what the parts make together
)

// maxParts is how many parts of one member are kept: of sticks that were
// plugged in one after the other, or of several sealed secrets.
const maxParts = 4

// A way is sources that open a volume together, by kind.
type way map[string]string

func (w way) has(name string) bool {
	for _, n := range w {
		if n == name {
			return true
		}
	}
	return false
}

// A Mixer keeps what sources have yielded for one volume until there is all
// that one of its ways needs. A nil Mixer is of a volume that each of its
// sources opens alone.
type Mixer struct {
	uuid    string
	ways    []way
	recipes []recipe
	why     []error           // other tokens are none
	parts   map[string][]part // by the source's name
}

// New makes the Mixer of a volume. Each of the ways is the names of sources
// that open it together.
func New(h *luks2.Header, ways [][]string, kind func(source string) string) *Mixer {
	if len(ways) == 0 {
		return nil
	}
	m := &Mixer{uuid: h.UUID(), parts: map[string][]part{}}
	for _, names := range ways {
		w := way{}
		for _, n := range names {
			w[kind(n)] = n
		}
		m.ways = append(m.ways, w)
	}
	m.read(h)
	return m
}

// A part is what one member has yielded.
type part struct {
	secret secret.Bytes
	staged bool
	slots  []int // that it may be for; none is any
}

// Has tells whether a source yields parts.
func (m *Mixer) Has(name string) bool {
	return m != nil && slices.ContainsFunc(m.ways, func(w way) bool { return w.has(name) })
}

// Kept tells whether there is a part of a source.
func (m *Mixer) Kept(name string) bool { return m != nil && len(m.parts[name]) > 0 }

// Lost tells whether nothing more can come of some ways, when these sources
// have ended: each lacks a part, or all of its sources have ended.
func (m *Mixer) Lost(ways [][]string, ended func(name string) bool) bool {
	for _, names := range ways {
		lacks := slices.ContainsFunc(names, func(n string) bool { return ended(n) && !m.Kept(n) })
		running := slices.ContainsFunc(names, func(n string) bool { return !ended(n) })
		if !lacks && running {
			return false
		}
	}
	return true
}

// A recipe is a token with a way that goes with it.
type recipe struct {
	Token
	way way
}

// goes tells whether a way is of these kinds.
func (w way) goes(kinds []string) bool {
	return slices.Equal(slices.Sorted(maps.Keys(w)), kinds)
}

// read finds the recipes of a header. A token that cannot be used leaves the
// others.
func (m *Mixer) read(h *luks2.Header) {
	for _, t := range h.Tokens() {
		if t.Type != TokenType {
			continue
		}
		token, err := Parse(t)
		if err == nil && !slices.ContainsFunc(m.ways, func(w way) bool { return w.goes(token.Members) }) {
			err = fmt.Errorf("the plan does not allow %s together", strings.Join(token.Members, " and "))
		}
		if err != nil {
			m.why = append(m.why, fmt.Errorf("token %d: %w", t.ID, err))
			continue
		}
		for _, w := range m.ways { // several, if there are several key files
			if w.goes(token.Members) {
				m.recipes = append(m.recipes, recipe{token, w})
			}
		}
	}
}

// Check says why none of these ways opens the volume, whatever its sources
// yield.
func (m *Mixer) Check(ways [][]string) error {
	for _, r := range m.recipes {
		if slices.ContainsFunc(ways, func(names []string) bool {
			return !slices.ContainsFunc(names, func(n string) bool { return !r.way.has(n) })
		}) {
			return nil
		}
	}
	why := errors.New("there is none (latchkey volume enroll-together makes it)")
	if len(m.why) > 0 {
		why = errors.Join(m.why...)
	}
	return codes.Fail(CodeToken, "no token of type %s goes with what the plan allows: %w", TokenType, why)
}

// Keyslots are those that the ways may open.
func (m *Mixer) Keyslots() (all []int) {
	for _, r := range m.recipes {
		if !slices.Contains(all, r.Slot) {
			all = append(all, r.Slot)
		}
	}
	return all
}

// Sealed are the tokens with a secret of the TPM that is a part.
func (m *Mixer) Sealed() (all []Token) {
	if m == nil {
		return nil
	}
	for _, r := range m.recipes {
		if len(r.Sealed) > 0 && !slices.ContainsFunc(all, func(t Token) bool { return t.ID == r.ID }) {
			all = append(all, r.Token)
		}
	}
	return all
}

// Add keeps what a source has yielded, and makes passphrases of what is there
// with it: none as long as another part is missing. Keys stay the caller's.
func (m *Mixer) Add(name string, keys []unlock.Candidate) (all []unlock.Candidate, err error) {
	for _, k := range keys {
		p := part{k.Passphrase, k.Staged, k.Slots}
		for _, r := range m.recipes {
			if !r.way.has(name) {
				continue
			}
			more, err := m.mix(r, name, p)
			all = append(all, more...)
			if err != nil {
				return all, err
			}
		}
		m.keep(name, p)
	}
	return all, nil
}

// keep keeps a copy of a part, and forgets the oldest if there are too many.
func (m *Mixer) keep(name string, p part) {
	if slices.ContainsFunc(m.parts[name], func(there part) bool { return there.secret.Equal(p.secret) && slices.Equal(there.slots, p.slots) }) {
		return
	}
	p.secret = p.secret.Clone()
	m.parts[name] = append(m.parts[name], p)
	if len(m.parts[name]) > maxParts {
		m.parts[name][0].secret.Wipe()
		m.parts[name] = slices.Delete(m.parts[name], 0, 1)
	}
}

// mix makes the passphrases of a keyslot of a new part and those that are
// there.
func (m *Mixer) mix(r recipe, name string, p part) (all []unlock.Candidate, err error) {
	choices := []choice{{parts: map[string]secret.Bytes{}}}
	for _, kind := range r.Members {
		from := m.parts[r.way[kind]]
		if r.way[kind] == name {
			from = []part{p}
		}
		var next []choice
		for _, c := range choices {
			for _, one := range from {
				if len(one.slots) == 0 || slices.Contains(one.slots, r.Slot) {
					next = append(next, c.with(kind, one))
				}
			}
		}
		choices = next
	}
	for _, c := range choices {
		key, err := r.Passphrase(m.uuid, c.parts)
		if err != nil {
			return all, codes.Fail(CodeToken, "token %d: %w", r.ID, err)
		}
		all = append(all, unlock.Candidate{Passphrase: key, Staged: c.staged, Slots: []int{r.Slot}})
	}
	return all, nil
}

// A choice is one part of each member.
type choice struct {
	parts  map[string]secret.Bytes
	staged bool
}

func (c choice) with(kind string, p part) choice {
	next := choice{map[string]secret.Bytes{kind: p.secret}, c.staged || p.staged}
	maps.Copy(next.parts, c.parts)
	return next
}

// Wipe forgets all parts.
func (m *Mixer) Wipe() {
	if m == nil {
		return
	}
	for _, parts := range m.parts {
		for _, p := range parts {
			p.secret.Wipe()
		}
	}
	clear(m.parts)
}
