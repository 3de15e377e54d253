package main

import (
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/together"
)

// An owner is what a keyslot is for, as far as the header tells.
type owner int

const (
	ownerNone     owner = iota + 1 // no token names it: a passphrase, or a key file's
	ownerKMS                       // a mark of ours
	ownerRecovery                  // systemd's token of a recovery key
	ownerSystemd                   // bound to the TPM by systemd's token
	ownerClevis
	ownerTogether // several sources open it together
	ownerOther    // a token that nobody here knows
)

// A standingSlot is a keyslot with what it is for.
type standingSlot struct {
	ID     int    `json:"id"`
	What   string `json:"what"`
	Opened bool   `json:"opened,omitempty"` // the volume, in this boot
	owner  owner
	pins   []kms.Pin // of a mark
}

// A standingSource is a source of the plan, and the keyslots that it opens.
type standingSource struct {
	Name     string `json:"name"`
	Keyslots []int  `json:"keyslots"`
	What     string `json:"what,omitempty"` // why it opens nothing, or what cannot be seen
}

// slotsOfHeader are all keyslots, usable or not, by number.
func slotsOfHeader(h *luks2.Header) (all []standingSlot) {
	for _, k := range h.Keyslots() {
		all = append(all, standingSlot{ID: k.ID, What: k.KDF.Type})
	}
	for _, k := range h.Skipped() {
		all = append(all, standingSlot{ID: k.ID, What: "skipped: " + k.Reason.Code()})
	}
	slices.SortFunc(all, func(a, b standingSlot) int { return a.ID - b.ID })
	for i := range all {
		all[i].belong(h)
	}
	return all
}

// belong finds the token that names the keyslot.
func (s *standingSlot) belong(h *luks2.Header) {
	s.owner = ownerNone
	what := "no token names it: a passphrase, or the key of a key file"
	for _, t := range h.Tokens() {
		if !slices.Contains(t.Keyslots, s.ID) {
			continue
		}
		switch t.Type {
		case recoveryType:
			s.owner = ownerRecovery
		case cryptenroll.TokenType:
			s.owner, what = ownerSystemd, fmt.Sprintf("token %d, %s: %s", t.ID, t.Type, cryptenroll.Describe(t.JSON).What)
		case "clevis":
			s.owner, what = ownerClevis, fmt.Sprintf("token %d, clevis", t.ID)
		case together.TokenType:
			s.owner, what = ownerTogether, fmt.Sprintf("token %d, %s", t.ID, togetherWords(t))
		case unlock.RenewalType: // a key of a file
		default:
			s.owner, what = ownerOther, fmt.Sprintf("token %d of type %.40q", t.ID, t.Type)
		}
	}
	for _, m := range unlock.Marks(h) {
		if m.Slot == s.ID {
			s.owner, s.pins = ownerKMS, m.KMS
		}
	}
	if text := purpose(h, s.ID); text != "" {
		what = text
	}
	s.What += ", " + what
}

// sourcesOf tells for each source of a volume which keyslots it opens.
func sourcesOf(p *plan.Plan, v plan.Volume, h *luks2.Header) (all []standingSource) {
	slots := slotsOfHeader(h)
	for _, name := range v.Sources {
		s := standingSource{Name: name, Keyslots: []int{}}
		if r, ok := p.Recipe(name); ok {
			s.byRecipe(r, h)
			all = append(all, s)
			continue
		}
		switch name {
		case plan.SourceKMS:
			s.byKMS(p, slots)
		case plan.SourcePrompt, plan.SourcePush:
			s.ofOwners(slots, ownerNone, ownerRecovery)
		case plan.SourceClevis, plan.SourceSystemd:
			s.byToken(p, v, h)
		default:
			s.byKeyFile(p, slots)
		}
		if len(s.Keyslots) == 0 && s.What == "" {
			s.What = "no keyslot is for it"
		}
		all = append(all, s)
	}
	return all
}

// byKeyFile: the file is not here. What other sources open, the header does
// not tell.
func (s *standingSource) byKeyFile(p *plan.Plan, slots []standingSlot) {
	if _, ok := p.KeyFile(s.Name); !ok {
		s.What = unseen
		return
	}
	s.ofOwners(slots, ownerNone)
	if len(s.Keyslots) > 0 {
		s.What = "if the file has its key: latchkey volume test tells"
	}
}

// unseen is said of sources whose keyslots the header does not tell.
const unseen = "what it opens is not seen in the header"

func (s *standingSource) ofOwners(slots []standingSlot, owners ...owner) {
	for _, k := range slots {
		if slices.Contains(owners, k.owner) && !k.skipped() {
			s.Keyslots = append(s.Keyslots, k.ID)
		}
	}
}

func (k standingSlot) skipped() bool { return strings.HasPrefix(k.What, "skipped: ") }

// byKMS goes by the marks. What was stored by volume put has none.
func (s *standingSource) byKMS(p *plan.Plan, slots []standingSlot) {
	for _, k := range slots {
		pinned := slices.ContainsFunc(k.pins, func(pin kms.Pin) bool { return slices.Contains(p.Trust.KMS, plan.PublicKey(pin.String())) })
		switch {
		case k.owner != ownerKMS || k.skipped():
		case pinned:
			s.Keyslots = append(s.Keyslots, k.ID)
		default:
			s.What = fmt.Sprintf("keyslot %d was enrolled with a key server that the plan does not pin", k.ID)
		}
	}
	if len(s.Keyslots) == 0 && s.What == "" {
		s.What = "no keyslot was enrolled (latchkey volume enroll), unless the key server holds a passphrase (latchkey-kms volume put)"
	}
}

// byRecipe goes by our tokens.
func (s *standingSource) byRecipe(r plan.Recipe, h *luks2.Header) {
	m := together.New(h, r.Ways, plan.KindOf)
	s.Keyslots = append(s.Keyslots, m.Keyslots()...)
	if err := m.Check(r.Ways); err != nil {
		s.What = err.Error()
	}
}

func (s *standingSource) byToken(p *plan.Plan, v plan.Volume, h *luks2.Header) {
	i := slices.IndexFunc(tokenSources, func(k tokenSource) bool { return k.source == s.Name })
	kind := tokenSources[i]
	var why []string
	for _, t := range h.Tokens() {
		if t.Type != kind.token || len(t.Keyslots) == 0 {
			continue
		}
		if err := kind.check(p, v, t.JSON); err != nil {
			why = append(why, fmt.Sprintf("token %d: %v", t.ID, err))
			continue
		}
		s.Keyslots = append(s.Keyslots, t.Keyslots...)
	}
	if s.What = strings.Join(why, "; "); len(s.Keyslots)+len(why) == 0 {
		s.What = "it " + kind.missing
	}
}

// openedBy is the keyslot that opened a volume in this boot, -1 if latchkey
// did not boot this machine, or left the volume closed.
func openedBy(file, uuid string) (int, error) {
	r, err := readReport(file)
	if err != nil {
		return -1, err
	}
	for _, v := range r.Volumes {
		if v.UUID == uuid && v.Code == "" {
			return v.Keyslot, nil
		}
	}
	return -1, nil
}
