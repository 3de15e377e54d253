package release

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"latchkey/kms/server/policy"
)

// A State is how far a roll is.
type State string

const (
	Rolling State = "rolling"
	Stopped State = "stopped" // no further machine may boot the release
	Done    State = "done"    // all machines of the group may
)

// A Roll lets the machines of a group boot a release, in waves: the key
// server updates no machine, it says which may boot what. A wave is over when
// enough of its machines came back.
type Roll struct {
	Group    string          `json:"group"`            // a label: site=berlin
	Within   policy.Duration `json:"within"`           // how long a wave may take
	Failures int             `json:"failures_percent"` // of a wave's machines that may stay away
	Retire   string          `json:"retire,omitempty"` // the release to retire when all came back
	State    State           `json:"state"`
	Why      string          `json:"why,omitempty"` // it was stopped
	Waves    []Wave          `json:"waves"`
	Wave     int             `json:"wave"` // the open one, from 0
	Opened   time.Time       `json:"opened"`
	Came     int             `json:"came"`   // machines that booted it and opened their volumes
	Failed   int             `json:"failed"` // machines that booted it and did not, or went back
}

// A Wave is how many machines may boot the release, those of earlier waves
// included. Which these are is told by their places.
type Wave struct {
	Size  int    `json:"size"`
	Place uint64 `json:"last_place"`
}

// Options say how to roll.
type Options struct {
	Group    string          `json:"group"`
	Canary   int             `json:"canary_percent"` // share of the first wave
	Within   policy.Duration `json:"within"`
	Failures int             `json:"failures_percent"`
	Retire   string          `json:"retire"`
}

// lastPlace is 2⁵³ − 1, the largest integer that all readers of JSON take
// (RFC 8259, section 6).
const lastPlace = 1<<53 - 1

// growth is how much larger a wave is than the one before.
const growth = 5

// Place orders machines, another way for each release, so that it is not
// always the same ones that go first.
func Place(release string, node []byte) uint64 {
	sum := sha256.Sum256(append([]byte("latchkey/roll\x00"+release+"\x00"), node...))
	return binary.BigEndian.Uint64(sum[:]) & lastPlace
}

// NewRoll begins to move the machines at these places.
func NewRoll(o Options, places []uint64, now time.Time) (Roll, error) {
	r := Roll{Group: o.Group, Within: o.Within, Failures: o.Failures, Retire: o.Retire, State: Rolling, Opened: now.UTC()}
	switch {
	case o.Canary < 1 || o.Canary > 100:
		return r, fmt.Errorf("canary %d%%: must be 1%% to 100%%", o.Canary)
	case o.Failures < 0 || o.Failures > 99:
		return r, fmt.Errorf("failures %d%%: must be 0%% to 99%%", o.Failures)
	case time.Duration(o.Within) < time.Minute:
		return r, fmt.Errorf("within %s: must be a minute or longer: machines have to boot in it", o.Within)
	case len(places) == 0:
		return r, errors.New("no approved machine has that label")
	}

	places = slices.Sorted(slices.Values(places))
	for share := o.Canary; ; share *= growth {
		size := (len(places)*min(share, 100) + 99) / 100
		if share >= 100 || size == len(places) {
			break
		}
		if n := len(r.Waves); n == 0 || r.Waves[n-1].Size < size {
			r.Waves = append(r.Waves, Wave{size, places[size-1]})
		}
	}
	r.Waves = append(r.Waves, Wave{len(places), lastPlace})
	return r, nil
}

// Admits tells whether a machine may boot the release now.
func (r *Roll) Admits(place uint64) bool {
	switch r.State {
	case Done:
		return true
	case Rolling:
		return place <= r.Waves[r.Wave].Place
	}
	return false
}

// Step does what is due: it opens the next wave, ends or stops. It says what
// it did; empty: nothing.
func (r *Roll) Step(now time.Time) (did string) {
	if r.State != Rolling {
		return ""
	}
	size := r.Waves[r.Wave].Size
	switch {
	case r.Failed*100 > size*r.Failures:
		r.State, r.Why = Stopped, fmt.Sprintf("%d of %d machines booted it and did not open their volumes, or went back", r.Failed, size)
	case r.Came*100 >= size*(100-r.Failures) && r.Wave == len(r.Waves)-1:
		r.State = Done
		return fmt.Sprintf("done: %d of %d machines came back", r.Came, size)
	case r.Came*100 >= size*(100-r.Failures):
		r.Wave++
		r.Opened = now.UTC()
		return fmt.Sprintf("wave %d of %d: %d machines may boot it", r.Wave+1, len(r.Waves), r.Waves[r.Wave].Size)
	case now.Sub(r.Opened) >= time.Duration(r.Within):
		r.State, r.Why = Stopped, fmt.Sprintf("%d of %d machines came back within %s", r.Came, size, r.Within)
	default:
		return ""
	}
	return "stopped: " + r.Why
}

// Resume goes on with a roll that was stopped, from its wave on. What failed
// counts no longer.
func (r *Roll) Resume(now time.Time) error {
	if r.State != Stopped {
		return fmt.Errorf("it is %s", r.State)
	}
	r.State, r.Why, r.Failed, r.Opened = Rolling, "", 0, now.UTC()
	return nil
}

// Stop ends a roll: machines that booted the release may go on to.
func (r *Roll) Stop(why string) error {
	if r.State != Rolling {
		return fmt.Errorf("it is %s", r.State)
	}
	r.State, r.Why = Stopped, why
	return nil
}

// Progress is how far it is, in a line.
func (r *Roll) Progress() string {
	line := fmt.Sprintf("%s, wave %d of %d, %d of %d machines came back, %d failed", r.State, r.Wave+1, len(r.Waves), r.Came, r.Waves[r.Wave].Size, r.Failed)
	if r.Why != "" {
		line += ": " + r.Why
	}
	return line
}
