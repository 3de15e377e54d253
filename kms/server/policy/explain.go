package policy

import (
	"fmt"
	"slices"
	"strings"

	"latchkey/kms/server/eventlog"
)

// maxExplanation bounds what is said of a mismatch, in bytes.
const maxExplanation = 600

// judges tells whether a PCR is part of the boot state: not the latch, and
// not 11 of a running system, which has gone on.
func (f Facts) judges(pcr int) bool { return pcr != latchPCR && (pcr != 11 || f.unlocking()) }

// changes are what became of the approved boot; none if it is not known what
// either was made of.
func (f Facts) changes() []eventlog.Change {
	if f.Boot == nil || f.ApprovedBoot == nil {
		return nil
	}
	return eventlog.Changes(f.ApprovedBoot, f.Boot, f.Programs)
}

// accepts names the rules by which the change of a PCR needs no operator;
// empty: it does. All of its changes must be known, and be of these rules.
func (f Facts) accepts(pcr int) string {
	var rules []string
	for _, c := range f.changes() {
		switch {
		case c.PCR != pcr:
			continue
		case !slices.Contains(f.Settings.Accept, c.Rule):
			return ""
		case !slices.Contains(rules, c.Rule):
			rules = append(rules, c.Rule)
		}
	}
	if len(rules) == 0 {
		return ""
	}
	return fmt.Sprintf("PCR %d changed by %s", pcr, strings.Join(rules, ", "))
}

// explained adds to a mismatch, in words, what was booted instead.
func (f Facts) explained(why string) string {
	if words := f.Explanation(); words != "" {
		return why + ": " + words
	}
	return why
}

// Explanation says in words how the boot differs from the approved one;
// empty: that is not known, or it does not.
func (f Facts) Explanation() string {
	if f.Boot == nil && f.LogRefused != "" {
		return f.LogRefused
	}
	if f.Boot != nil && f.ApprovedBoot == nil {
		return f.Boot.Sentence()
	}
	return eventlog.Sentence(f.changes(), maxExplanation)
}

// unjudged says why nothing is known of the boot's content.
func (f Facts) unjudged() string {
	if f.LogRefused != "" {
		return f.LogRefused
	}
	return "its event log was not judged yet"
}
