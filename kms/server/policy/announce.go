package policy

import (
	"fmt"
	"time"

	"latchkey/kms"
)

// An Announce says whether a machine's own system may say that its next boot
// will be another one.
type Announce string

const (
	// AnnounceRefuse is the default: root on a running machine could use it.
	AnnounceRefuse Announce = "refuse"
	// AnnounceAllow takes the next boot, once, within AnnounceFor.
	AnnounceAllow Announce = "allow"
)

const (
	announceFor    = Duration(24 * time.Hour)
	maxAnnounceFor = Duration(30 * 24 * time.Hour)
)

// An Announced is what a machine's system said.
type Announced struct {
	Boot  Clock     `json:"boot"` // in which it was said
	Until time.Time `json:"until"`
	Next  *Clock    `json:"next,omitempty"` // the next boot, once it asked
}

// AnnouncedFor is how long an announcement holds.
func (s Settings) AnnouncedFor() time.Duration {
	if s.AnnounceFor != nil {
		return time.Duration(*s.AnnounceFor)
	}
	return time.Duration(announceFor)
}

// announceRule: only a boot that was itself given its keys may speak for the
// next one. Else whatever is started on the machine, from a stick, could: a
// running system's PCR 11 is not judged.
func announceRule(f Facts) (kms.Status, string) {
	switch {
	case f.Operation != kms.Announce:
		return 0, fmt.Sprintf("%s announces nothing", f.Operation)
	case f.Settings.Announce != AnnounceAllow:
		return kms.Refused, "may not announce another boot state: see the setting announce"
	case f.State != Approved:
		return kms.Refused, "only an approved machine may announce another boot state"
	case f.Clock != f.Seen || f.InBoot == 0:
		return kms.Refused, "was not given its keys in this boot, or slept since, so it may not announce another boot state"
	}
	return 0, fmt.Sprintf("may announce another boot state, for %s", Duration(f.Settings.AnnouncedFor()))
}

// announced tells whether a PCR may be another than the approved one, because
// this is the next boot after it was announced. A boot whose initrd is
// measured is not followed by one that nothing measures.
func (f Facts) announced(pcr int) bool {
	if !f.NextBoot() || f.Now.After(f.Announced.Until) {
		return false
	}
	return pcr != 11 || Measured(f.PCRs[11]) || !Measured(f.Pins[11])
}

// NextBoot tells whether this is the boot that was announced: the first later
// one that asks.
func (f Facts) NextBoot() bool {
	a := f.Announced
	return a != nil && f.unlocking() && a.Boot.Before(f.Clock) && (a.Next == nil || *a.Next == f.Clock)
}

// Window is what an operator reads of an announcement.
func (a *Announced) Window() string {
	return fmt.Sprintf("its next boot may be another one, until %s", a.Until.UTC().Format("2006-01-02 15:04 MST"))
}
