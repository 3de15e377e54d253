// Package policy decides what a node may have at a moment: one pure
// function from what is known and asked to a verdict. It reads no store and
// no clock, so that what an operator is told would happen is what happens.
package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"latchkey/kms/server/eventlog"
)

// A Digest is 32 bytes that people read as hex.
type Digest = eventlog.Digest

// A Clock counts a TPM's resets: Part 2, section 10.11.1. It never falls, in
// lexicographic order, unless the TPM was cleared; two proofs with the same
// one are of the same boot.
type Clock struct{ Reset, Restart uint32 }

// Before tells whether c is of an earlier boot than o.
func (c Clock) Before(o Clock) bool {
	return c.Reset < o.Reset || c.Reset == o.Reset && c.Restart < o.Restart
}

// A Role says which operations a node may use.
type Role string

const (
	// RoleAny may use all.
	RoleAny Role = "any"
	// RoleBoot gets and stages, and puts nothing.
	RoleBoot Role = "boot"
	// RoleInstall also puts and enrolls, until it was given a secret once:
	// from then on it is RoleBoot.
	RoleInstall Role = "install"
)

// An Outside says what becomes of a release outside the windows.
type Outside string

const (
	// OutsideRefuse gives nothing.
	OutsideRefuse Outside = "refuse"
	// OutsideApprove gives it when an operator approved within the last hour.
	OutsideApprove Outside = "approve"
)

// ApprovalLife is how long an approval counts outside the windows.
const ApprovalLife = time.Hour

// Settings are what an operator may set for all nodes, for a group, or for
// one node. What is not set is the next wider one's.
type Settings struct {
	Silence       *Duration      `json:"silence,omitempty" yaml:"silence"`                          // a node that was silent for longer needs approval again; 0: never
	Presence      *Duration      `json:"presence,omitempty" yaml:"presence"`                        // a node that was not seen for longer needs approval again; 0: none is asked for
	PerBoot       *int           `json:"per_boot,omitempty" yaml:"per-boot"`                        // releases in one boot; 0: any number
	PerHour       *int           `json:"per_hour,omitempty" yaml:"per-hour"`                        // releases within an hour; 0: any number
	StoresPerHour *int           `json:"stores_per_hour,omitempty" yaml:"stores-per-hour"`          // puts and enrolls within an hour; 0: any number; nil: DefaultStores
	OwnVolumes    *int           `json:"own_volumes,omitempty" yaml:"own-volumes"`                  // volumes that it may have and still take more by itself; nil: DefaultVolumes
	Networks      []netip.Prefix `json:"networks,omitempty" yaml:"networks"`                        // where it may ask from; none: anywhere
	Windows       []Window       `json:"windows,omitempty" yaml:"windows"`                          // when it may have secrets; none: always
	Outside       Outside        `json:"outside,omitempty" yaml:"outside" words:"refuse approve"`   // what holds outside the windows
	Releases      []string       `json:"releases,omitempty" yaml:"releases"`                        // image releases, one of which it must have booted
	Moved         Moved          `json:"moved,omitempty" yaml:"moved" words:"allow approve refuse"` // what becomes of one that is in another network than before
	Role          Role           `json:"role,omitempty" yaml:"role" words:"any boot install"`
	Accept        []string       `json:"accept,omitempty" yaml:"accept"` // changes of the approved boot state that need no operator: eventlog.ShippedRules

	Approvals   *int       `json:"approvals,omitempty" yaml:"approvals"`                            // people who must approve, accept, renew, readmit or set the same; nil: one
	Announce    Announce   `json:"announce,omitempty" yaml:"announce" words:"refuse allow"`         // whether its system may announce another boot state
	AnnounceFor *Duration  `json:"announce_for,omitempty" yaml:"announce-for"`                      // how long an announcement holds; a day if it is not said
	Unmeasured  Unmeasured `json:"unmeasured,omitempty" yaml:"unmeasured" words:"ask allow refuse"` // what becomes of a machine whose initrd nothing measures
}

// NoRelease as the only release sets those of a wider setting aside.
const NoRelease = "none"

// DefaultVolumes is OwnVolumes if nothing is set: more than any machine has
// disks, and few enough that one machine does not fill the database.
const DefaultVolumes = 64

// DefaultStores is StoresPerHour if nothing is set: put and enroll of so many
// volumes, as when the machine is installed.
const DefaultStores = 2 * DefaultVolumes

// Stores is StoresPerHour, or the default.
func (s Settings) Stores() int {
	if s.StoresPerHour == nil {
		return DefaultStores
	}
	return *s.StoresPerHour
}

// Volumes is OwnVolumes, or the default.
func (s Settings) Volumes() int {
	if s.OwnVolumes == nil {
		return DefaultVolumes
	}
	return *s.OwnVolumes
}

// People is how many must say the same.
func (s Settings) People() int {
	if s.Approvals == nil {
		return 1
	}
	return *s.Approvals
}

// maxPeople bounds Approvals: with more, nothing is ever done.
const maxPeople = 5

// maxPerHour bounds the limit, because each release of the last hour is
// kept in the node's record.
const maxPerHour = 1000

// maxOwn bounds OwnVolumes: all of them are looked through when one is taken.
const maxOwn = 1000

// check says what is wrong with the settings by themselves.
func (s Settings) check() error {
	if s.OwnVolumes != nil && (*s.OwnVolumes < 0 || *s.OwnVolumes > maxOwn) {
		return fmt.Errorf("own-volumes %d: must be 0 (it takes none by itself) to %d", *s.OwnVolumes, maxOwn)
	}
	for name, n := range map[string]*int{"per-boot": s.PerBoot, "per-hour": s.PerHour, "stores-per-hour": s.StoresPerHour} {
		if n != nil && (*n < 0 || *n > maxPerHour) {
			return fmt.Errorf("%s %d: must be 0 (any number) to %d", name, *n, maxPerHour)
		}
	}

	if s.Approvals != nil && (*s.Approvals < 1 || *s.Approvals > maxPeople) {
		return fmt.Errorf("approvals %d: must be 1 to %d people", *s.Approvals, maxPeople)
	}
	if s.Silence != nil && *s.Silence < 0 {
		return fmt.Errorf("silence %s: must not be negative", s.Silence)
	}
	switch s.Outside {
	case "", OutsideRefuse, OutsideApprove:
	default:
		return fmt.Errorf("outside %q: must be refuse or approve", s.Outside)
	}

	switch s.Role {
	case "", RoleAny, RoleBoot, RoleInstall:
	default:
		return fmt.Errorf("role %q: must be any, boot or install", s.Role)
	}

	if s.AnnounceFor != nil && (*s.AnnounceFor <= 0 || *s.AnnounceFor > maxAnnounceFor) {
		return fmt.Errorf("announce-for %s: must be more than nothing, and %s at most", s.AnnounceFor, maxAnnounceFor)
	}
	switch s.Announce {
	case "", AnnounceRefuse, AnnounceAllow:
	default:
		return fmt.Errorf("announce %q: must be allow or refuse", s.Announce)
	}

	switch s.Unmeasured {
	case "", UnmeasuredAsk, UnmeasuredAllow, UnmeasuredRefuse:
	default:
		return fmt.Errorf("unmeasured %q: must be ask, allow or refuse", s.Unmeasured)
	}

	if len(s.Releases) > 1 && slices.Contains(s.Releases, NoRelease) {
		return fmt.Errorf("releases: %q stands alone", NoRelease)
	}
	for _, rule := range s.Accept {
		if !slices.Contains(eventlog.ShippedRules, rule) && rule != NoRelease || rule == NoRelease && len(s.Accept) > 1 {
			return fmt.Errorf("accept %q: must be of %s, or %s alone", rule, strings.Join(eventlog.ShippedRules, ", "), NoRelease)
		}
	}
	for _, p := range s.Networks {
		if p != p.Masked() {
			return fmt.Errorf("network %s: bits are set behind the prefix; %s is meant", p, p.Masked())
		}
	}

	return nil
}

// A Group is settings for the nodes that have a label.
type Group struct {
	Label, Value string
	Settings     Settings
}

// A Policy is what the configuration says. Its zero value lets an approved
// node have its secrets in the boot state that was approved.
type Policy struct {
	Defaults Settings
	Groups   []Group // a later one goes over an earlier one
	Releases map[string]Release
	Programs map[Digest]string // names of what firmware starts
}

// known tells whether all releases of s are in the policy.
func (p *Policy) known(s Settings) error {
	for _, name := range s.Releases {
		if _, ok := p.Releases[name]; !ok && name != NoRelease {
			return fmt.Errorf("release %q is not in the configuration; it has: %s", name, listOr(slices.Sorted(maps.Keys(p.Releases)), "none"))
		}
	}
	return nil
}

func listOr(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ", ")
}
