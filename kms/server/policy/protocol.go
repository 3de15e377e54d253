package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// A Protocol is one that machines speak: they show more or less of what the
// rules ask.
type Protocol string

// The protocols.
const (
	LK1    Protocol = "lk1"
	Kairos Protocol = "kairos"
	Talos  Protocol = "talos"
)

// labelProtocol is a label that each machine has.
const labelProtocol = "protocol"

// shared are the rules that ask nothing that only lk1 shows.
var shared = []Rule{RuleState, RuleQuarantine, RuleNetwork, RuleEnrollment, RuleRole, RuleSilence, RuleWindow, RulePerHour, RuleStores}

// without says of each setting that a protocol has nothing for, why.
var without = map[Protocol]map[string]string{
	Kairos: {
		"per-boot":     "Kairos' client does not say which boot it is",
		"presence":     "Kairos' client does not beat",
		"moved":        "Kairos' client does not beat",
		"accept":       "Kairos' client shows no event log",
		"announce":     "Kairos' client announces nothing",
		"announce-for": "Kairos' client announces nothing",
		"own-volumes":  "a machine of Kairos has 32 partitions at most",
	},
	Talos: {
		"per-boot":     "Talos does not say which boot it is",
		"presence":     "Talos does not beat",
		"moved":        "Talos does not beat",
		"releases":     "Talos shows no boot state",
		"unmeasured":   "Talos shows no boot state",
		"accept":       "Talos shows no boot state",
		"announce":     "Talos announces nothing",
		"announce-for": "Talos announces nothing",
		"own-volumes":  "the key server keeps no volumes of Talos",
	},
}

// check refuses settings that would mean nothing.
func (p Protocol) check(s Settings) error {
	for _, name := range slices.Sorted(maps.Keys(without[p])) {
		if s.has(name) {
			return fmt.Errorf("%s: %s", name, without[p][name])
		}
	}
	return nil
}

// Lacks tells whether a protocol has nothing for a setting.
func (p Protocol) Lacks(setting string) bool { return without[p][setting] != "" }

// Settings are the names of those that a machine of the protocol may have of
// its own.
func (p Protocol) Settings() []string {
	return slices.DeleteFunc(SettingNames(), func(name string) bool { return p.Lacks(name) || name == "approvals" })
}

// Unasked are the settings that are set and that a protocol has nothing for,
// each with why.
func (p Protocol) Unasked(s Settings) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(without[p])) {
		if s.has(name) {
			lines = append(lines, name+": not asked: "+without[p][name])
		}
	}
	return lines
}

// For is what holds for a machine of a protocol.
func (p *Policy) For(protocol Protocol, t Terms) Settings {
	s := p.Defaults
	for _, g := range p.Groups {
		value, ok := t.Labels[g.Label]
		if g.Label == labelProtocol {
			value, ok = string(protocol), true
		}
		if ok && value == g.Value {
			s = g.Settings.Over(s)
		}
	}
	return t.Settings.Over(s)
}

// PeopleAt is how many people must want something done with a machine, of which
// from is the address that it waits at; the zero address if it does not wait.
// Until a label says whose it is, it needs as many as the group that needs most
// of those in whose networks it is: approving it may put it there.
func (p *Policy) PeopleAt(protocol Protocol, t Terms, from netip.Addr) int {
	most := p.For(protocol, t).People()
	for _, g := range p.Groups {
		if _, owned := t.Labels[g.Label]; owned || g.Label == labelProtocol || !Covers(p.NetworksOf(g.Label, g.Value), from) {
			continue
		}
		there := t
		there.Labels = maps.Clone(t.Labels)
		if there.Labels == nil {
			there.Labels = map[string]string{}
		}
		there.Labels[g.Label] = g.Value
		most = max(most, p.For(protocol, there).People())
	}
	return most
}

// Covers tells whether an address is in one of the networks.
func Covers(networks []netip.Prefix, from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(from) })
}

// checkGroup refuses a group of a protocol that has nothing for its settings.
func checkGroup(label, value string, s Settings) error {
	if label != labelProtocol {
		return nil
	}
	if p := Protocol(value); p != LK1 && without[p] == nil {
		return fmt.Errorf("label %s=%s: there are %s, %s and %s", label, value, LK1, Kairos, Talos)
	}
	return Protocol(value).check(s)
}

// checkPeople refuses a group that asks for fewer people than all machines
// need: it would ask for as many all the same.
func (s Settings) checkPeople(group Settings) error {
	if group.Approvals == nil || *group.Approvals >= s.People() {
		return nil
	}
	return fmt.Errorf("approvals %d: defaults ask for %d, and a group may ask for more, not for fewer", *group.Approvals, s.People())
}

// Vouched are the PCRs of those that were shown that a release vouches for, of
// a machine whose other pins its protocol keeps; why is not empty if it must
// have booted a release and did not, or one that was retired.
func (f Facts) Vouched(shown []int) (pcrs []int, why string) {
	booted, why := f.matching()
	if gone := f.retired(); len(booted) == 0 && gone != "" {
		why = gone
	}
	if why == "" {
		why = f.unmeasured(f.any(booted, Release.measures))
	}
	if why != "" {
		return nil, why
	}
	for _, pcr := range shown {
		if f.any(booted, func(r Release) bool { return r.covers(pcr) }) {
			pcrs = append(pcrs, pcr)
		}
	}
	return pcrs, ""
}

// AsksPresence tells whether any machine must be seen, or be where it was.
func (p *Policy) AsksPresence() bool {
	asks := func(s Settings) bool { return s.Presence != nil && *s.Presence > 0 || s.Moved != "" }
	return asks(p.Defaults) || slices.ContainsFunc(p.Groups, func(g Group) bool { return asks(g.Settings) })
}

// NetworksOf are the networks that the settings of a label's group name, for
// itself: those of the defaults say nothing of whose a machine is.
func (p *Policy) NetworksOf(label, value string) (networks []netip.Prefix) {
	for _, g := range p.Groups {
		if g.Label == label && g.Value == value && g.Settings.Networks != nil {
			networks = g.Settings.Networks
		}
	}
	return networks
}
