package policy

import (
	"net/netip"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/eventlog"
)

// A State is what an operator made of a node.
type State int

const (
	Unknown State = iota
	Pending
	Approved
	Deleted
)

// Facts are all that a verdict rests on.
type Facts struct {
	Now time.Time

	// What is asked, and what the proof shows.
	Protocol  Protocol // empty: lk1
	Operation kms.Operation
	From      netip.Addr // not valid: not known
	PCRs      map[int]Digest
	Clock     Clock

	// What is recorded of the node.
	State       State
	Quarantined bool
	Admit       Admission    // of an unknown or pending node
	Heard       time.Time    // last proof, approval, or when it was first seen: the latest
	Lapsed      time.Time    // when its approval lapsed; zero: it holds
	Beat        time.Time    // the latest time that a beat has proven; zero: none
	BeatFrom    netip.Prefix // the network that it came from
	Home        netip.Prefix // the network that the node is in, as far as was seen; zero: it was not
	Vanished    time.Time    // when it was found to be away for too long; zero: it was not
	Outages     []Outage     // when no key server ran
	Approved    time.Time
	Seen        Clock          // counters of its last release
	Pins        map[int]Digest // boot state that was approved
	Awaits      bool           // PCR 11 was not known then, and the operator is to take its first boot
	Announced   *Announced     // its system said that its next boot will be another one
	Booted      bool           // it was given a secret since it was installed
	InBoot      int            // releases in the boot of Seen
	InHour      int            // releases within the hour before Now
	Stores      int            // puts and enrolls within it

	// Jumped is by how much the clock was set: how long anybody was silent is
	// not known then. Zero: it was not.
	Jumped time.Duration

	// Boot is what the quoted PCRs were made of, of a log that adds up to
	// them; nil: there is none yet. ApprovedBoot is that of Pins.
	Boot, ApprovedBoot *eventlog.Summary
	LogRefused         string // why there is no Boot, if a log was shown

	Settings Settings // Policy.For
	Rolled   []string // releases that it may boot as well, because its group is moved to them
	Releases map[string]Release
	Programs map[Digest]string // Policy.Programs
}

// An Admission says whether a node that nobody approved may wait for it.
type Admission struct {
	Status kms.Status // Pending or Refused
	Why    string
}

// A Rule is the name of a rule: the reason that the operator sees. A node is
// told its status only.
type Rule string

// The rules, in the order in which they are asked. The first that fails
// gives the status.
const (
	RuleState      Rule = "state"
	RuleQuarantine Rule = "quarantine"
	RuleNetwork    Rule = "network"
	RuleEnrollment Rule = "enrollment"
	RuleRole       Rule = "role"
	RuleAnnounce   Rule = "announce"
	RuleSilence    Rule = "silence"
	RulePresence   Rule = "presence"
	RuleMoved      Rule = "moved"
	RuleWindow     Rule = "window"
	RuleLatch      Rule = "latch"
	RuleCounters   Rule = "counters"
	RuleBootState  Rule = "boot-state"
	RulePerBoot    Rule = "per-boot"
	RulePerHour    Rule = "per-hour"
	RuleStores     Rule = "stores-per-hour"
)

// A Check is one rule's answer, in one line.
type Check struct {
	Rule   Rule       `json:"rule"`
	Passes bool       `json:"passes"`
	Why    string     `json:"why"`
	status kms.Status // if it fails and is the first to
}

// A Verdict is what follows from Facts.
type Verdict struct {
	Status kms.Status
	Reason Rule // of the first rule that failed; empty: none
	Checks []Check
}

// Failed tells whether a rule failed, first or not.
func (v Verdict) Failed(r Rule) bool {
	return slices.ContainsFunc(v.Checks, func(c Check) bool { return c.Rule == r && !c.Passes })
}

// rules are all, in their order.
var rules = []struct {
	name  Rule
	judge func(Facts) (fails kms.Status, why string)
}{
	{RuleState, stateRule},
	{RuleQuarantine, quarantineRule},
	{RuleNetwork, networkRule},
	{RuleEnrollment, enrollmentRule},
	{RuleRole, roleRule},
	{RuleAnnounce, announceRule},
	{RuleSilence, silenceRule},
	{RulePresence, presenceRule},
	{RuleMoved, movedRule},
	{RuleWindow, windowRule},
	{RuleLatch, latchRule},
	{RuleCounters, countersRule},
	{RuleBootState, bootStateRule},
	{RulePerBoot, perBootRule},
	{RulePerHour, perHourRule},
	{RuleStores, storesRule},
}

// Judge is the policy.
func Judge(f Facts) Verdict { return judge(f, func(Rule) bool { return true }) }

// JudgeShared is the part of the policy that asks nothing that only lk1 shows.
func JudgeShared(f Facts) Verdict {
	return judge(f, func(r Rule) bool { return slices.Contains(shared, r) })
}

func judge(f Facts, asked func(Rule) bool) Verdict {
	v := Verdict{Status: kms.OK}
	for _, rule := range rules {
		if !asked(rule.name) {
			continue
		}
		status, why := rule.judge(f)
		passes := status == 0
		v.Checks = append(v.Checks, Check{rule.name, passes, why, status})
		if !passes && v.Reason == "" {
			v.Status, v.Reason = status, rule.name
		}
	}
	return v
}
