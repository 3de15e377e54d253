package policy

import (
	"fmt"
	"net/netip"
	"time"

	"latchkey/kms"
)

// MinPresence is the shortest Presence: a few beats, a reboot, and the time in
// which servers that share a store tell each other who was seen.
const MinPresence = 5 * time.Minute

// maxOutage is how long the key server may have been away, a power cut over
// holidays, and still nobody counts as away for it.
const maxOutage = 7 * 24 * time.Hour

// A Moved says what becomes of a machine that beats, or asks, from another
// network than before.
type Moved string

const (
	// MovedAllow takes the new network for its own.
	MovedAllow Moved = "allow"
	// MovedApprove waits for an operator.
	MovedApprove Moved = "approve"
	// MovedRefuse gives nothing until it is back.
	MovedRefuse Moved = "refuse"
)

// An Outage is a time in which no key server ran, so that nobody could be
// seen.
type Outage struct {
	From time.Time `json:"from"` // zero: since ever
	To   time.Time `json:"to"`
}

// presence is the setting; 0: there is none.
func (s Settings) presence() time.Duration {
	if s.Presence == nil {
		return 0
	}
	return time.Duration(*s.Presence)
}

// checkPresence says what is wrong with the settings of presence.
func (s Settings) checkPresence() error {
	if d := s.presence(); d != 0 && d < MinPresence {
		return fmt.Errorf("presence %s: must be 0 (none is asked for), or %s at least", s.Presence, Duration(MinPresence))
	}
	switch s.Moved {
	case "", MovedAllow, MovedApprove, MovedRefuse:
		return nil
	}
	return fmt.Errorf("moved %q: must be allow, approve or refuse", s.Moved)
}

// present is when the machine was last seen, by beats and otherwise. Who was
// there when the last key server went counts as seen when one came back.
func (f Facts) present(limit time.Duration) time.Time {
	last := f.Heard
	if f.Beat.After(last) {
		last = f.Beat
	}
	for _, o := range f.Outages {
		was := o.From.IsZero() || o.To.Sub(o.From) <= maxOutage && o.From.Sub(last) <= limit
		if was && o.To.After(last) {
			last = o.To
		}
	}
	return last
}

// Away is for how long nobody has seen the machine; negative by a clock that
// was set back.
func (f Facts) Away() time.Duration { return f.Now.Sub(f.present(f.Settings.presence())) }

// Vanishes tells whether the machine was away for longer than it may be.
func (f Facts) Vanishes() bool {
	limit := f.Settings.presence()
	return limit != 0 && f.State == Approved && f.Away() > limit
}

func presenceRule(f Facts) (kms.Status, string) {
	limit := f.Settings.presence()
	switch {
	case limit == 0:
		return 0, "may be away for any time"
	case f.Operation == kms.PresenceBeat:
		return 0, "beat gives no secret out"
	case f.State != Approved:
		return 0, "counts from approval on"
	case !f.Vanished.IsZero():
		return kms.Pending, fmt.Sprintf("vanished %s: node renew renews it", f.Vanished.UTC().Format(time.RFC3339))
	case f.Vanishes():
		return kms.Pending, fmt.Sprintf("was last seen %s ago, longer than %s: node renew renews it", f.Away().Truncate(time.Second), Duration(limit))
	}
	return 0, fmt.Sprintf("was seen %s ago, within %s", max(0, f.Away()).Truncate(time.Second), Duration(limit))
}

// NetworkOf is what counts as one network: a /24 of IPv4, a /64 of IPv6; the
// zero prefix for what is no address.
func NetworkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Elsewhere is the network, other than the machine's own, from which it beats
// or asks; zero: it is at home, or has none.
func (f Facts) Elsewhere() netip.Prefix {
	if !f.Home.IsValid() {
		return netip.Prefix{}
	}
	for _, at := range []netip.Prefix{f.BeatFrom, NetworkOf(f.From)} {
		if at.IsValid() && at != f.Home {
			return at
		}
	}
	return netip.Prefix{}
}

func movedRule(f Facts) (kms.Status, string) {
	at := f.Elsewhere()
	switch moved := f.Settings.Moved; {
	case !f.releases():
		return 0, fmt.Sprintf("%s gives no secret out", f.Operation)
	case !f.Home.IsValid():
		return 0, "where it is was not seen yet"
	case !at.IsValid():
		return 0, fmt.Sprintf("is in %s as before", f.Home)
	case moved == MovedApprove:
		return kms.Pending, fmt.Sprintf("moved from %s to %s: node renew takes the new network", f.Home, at)
	case moved == MovedRefuse:
		return kms.Refused, fmt.Sprintf("moved from %s to %s: it gets nothing until it is back", f.Home, at)
	}
	return 0, fmt.Sprintf("moved from %s to %s, and may", f.Home, at)
}
