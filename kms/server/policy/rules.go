package policy

import (
	"fmt"
	"strings"
	"time"

	"latchkey/kms"
)

// releases: get gives secrets out.
func (f Facts) releases() bool { return f.Operation == kms.Get }

// unlocking: asked by a boot that has not opened its volumes, not by a
// running system.
func (f Facts) unlocking() bool { return f.Operation == kms.Get || f.Operation == kms.Stage }

// command is the one that changes machines of the protocol.
func (f Facts) command() string {
	if f.Protocol == "" || f.Protocol == LK1 {
		return "node"
	}
	return string(f.Protocol)
}

func stateRule(f Facts) (kms.Status, string) {
	switch f.State {
	case Deleted:
		return kms.Refused, fmt.Sprintf("deleted: it stays refused until %s undelete lets it ask again", f.command())
	case Approved:
		return 0, "approved"
	case Pending:
		return 0, "waits for approval"
	}
	return 0, "nobody knows it"
}

func quarantineRule(f Facts) (kms.Status, string) {
	if f.Quarantined {
		return kms.Quarantined, fmt.Sprintf("quarantined: %s readmit ends it", f.command())
	}
	return 0, "not quarantined"
}

func networkRule(f Facts) (kms.Status, string) {
	s := f.Settings
	if len(s.Networks) == 0 {
		return 0, "may ask from anywhere"
	}
	from := f.From.Unmap().WithZone("")
	for _, p := range s.Networks {
		if p.Contains(from) {
			return 0, fmt.Sprintf("%s is in %s", from, p)
		}
	}
	return kms.Refused, fmt.Sprintf("%s is in none of %s", from, join(s.Networks))
}

func enrollmentRule(f Facts) (kms.Status, string) {
	if f.State == Approved || f.State == Deleted {
		return 0, "is enrolled"
	}
	return f.Admit.Status, f.Admit.Why
}

func roleRule(f Facts) (kms.Status, string) {
	deposits := f.Operation == kms.Put || f.Operation == kms.Enroll
	switch role := f.Settings.Role; {
	case role == "" || role == RoleAny || !deposits:
		return 0, fmt.Sprintf("%s is for any role", f.Operation)
	case role == RoleInstall && !f.Booted:
		return 0, "installing: it was not given a secret yet"
	case role == RoleInstall:
		return kms.Refused, fmt.Sprintf("role install ended with its first boot; %s needs: %s set --role install", f.Operation, f.command())
	}
	return kms.Refused, fmt.Sprintf("role %s may not %s", f.Settings.Role, f.Operation)
}

func silenceRule(f Facts) (kms.Status, string) {
	var limit Duration
	if f.Settings.Silence != nil {
		limit = *f.Settings.Silence
	}
	switch silent := f.Now.Sub(f.Heard); {
	case !f.Lapsed.IsZero():
		return kms.Pending, fmt.Sprintf("its approval lapsed %s: %s renew renews it", f.Lapsed.UTC().Format(time.RFC3339), f.command())
	case f.State != Approved:
		return 0, "counts from approval on"
	case limit == 0:
		return 0, "may be silent for any time"
	case f.Jumped != 0:
		return 0, fmt.Sprintf("the key server's clock was set by %s: silence does not count until it is started again", f.Jumped)
	case silent > time.Duration(limit):
		return kms.Pending, fmt.Sprintf("was silent for %s, longer than %s: %s renew renews it", silent.Truncate(time.Second), limit, f.command())
	default:
		return 0, fmt.Sprintf("was heard of %s ago, within %s", silent.Truncate(time.Second), limit)
	}
}

func windowRule(f Facts) (kms.Status, string) {
	s := f.Settings
	switch {
	case !f.releases():
		return 0, fmt.Sprintf("%s gives no secret out", f.Operation)
	case len(s.Windows) == 0:
		return 0, "may have its secrets at any time"
	}

	for _, w := range s.Windows {
		if w.Contains(f.Now) {
			return 0, fmt.Sprintf("%s is in %s", f.Now.In(w.zone).Format("Mon 15:04"), w)
		}
	}

	outside := fmt.Sprintf("%s is outside of %s", f.Now.In(s.Windows[0].zone).Format("Mon 15:04"), join(s.Windows))
	if s.Outside != OutsideApprove {
		return kms.Refused, outside
	}

	if age := f.Now.Sub(f.Approved); age >= 0 && age < ApprovalLife {
		return 0, fmt.Sprintf("%s, but was approved %s ago", outside, age.Truncate(time.Second))
	}
	return kms.Pending, fmt.Sprintf("%s: %s renew lets it through for %s", outside, f.command(), Duration(ApprovalLife))
}

// latchPCR is zero until the volumes are open.
const latchPCR = 15

func latchRule(f Facts) (kms.Status, string) {
	switch {
	case !f.unlocking():
		return 0, fmt.Sprintf("%s comes from a running system", f.Operation)
	case f.PCRs[latchPCR] != Digest{}:
		return kms.PCR15Used, "PCR 15 is not zero: volumes were opened in this boot"
	}
	return 0, "PCR 15 is zero"
}

func countersRule(f Facts) (kms.Status, string) {
	if f.State == Approved && f.Clock.Before(f.Seen) {
		return kms.TPMCleared, fmt.Sprintf("reset and restart counts %d/%d fell below %d/%d: node accept takes them", f.Clock.Reset, f.Clock.Restart, f.Seen.Reset, f.Seen.Restart)
	}
	return 0, fmt.Sprintf("reset and restart counts %d/%d did not fall", f.Clock.Reset, f.Clock.Restart)
}

func join[T fmt.Stringer](list []T) string {
	var words []string
	for _, v := range list {
		words = append(words, v.String())
	}
	return strings.Join(words, ", ")
}
