package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"latchkey/internal/pcr"
)

// A Release is what one build of an image measures.
type Release struct {
	PCRs   map[int]Digest  // golden values
	Signed map[Digest]bool // policy digests over PCR 11 that a trusted key signed; nil: PCR 11 is not signed
	// Content is what else it must have measured; nil: nothing.
	Content *Content
	// Retired is when the operator took it back; zero: it may be booted.
	Retired time.Time
}

// identifies tells whether PCR 11 is the release's.
func (r Release) identifies(pcr11 Digest) bool {
	value, golden := r.PCRs[11]
	return golden && value == pcr11 || r.Signed[pcr.Policy11(pcr11)]
}

// retired is since when, for people.
func (r Release) retired() string { return "retired on " + r.Retired.UTC().Format(time.DateOnly) }

// QuotedPCRs are those that every quote holds and approval pins: what the
// firmware checks (7), what was booted (11), its command line (12).
var QuotedPCRs = []int{7, 11, 12}

// covers tells whether the release says what a PCR must be.
func (r Release) covers(pcr int) bool {
	_, golden := r.PCRs[pcr]
	return golden || pcr == 11 && r.Signed != nil || r.Content != nil && r.Content.covers(pcr)
}

// match says why a boot state is not this release; nil means that it is, as
// far as the release goes.
func (r Release) match(f Facts) error {
	if !r.Retired.IsZero() {
		return errors.New(r.retired())
	}
	var other, wrong []string
	for _, i := range slices.Sorted(maps.Keys(r.PCRs)) {
		if f.judges(i) && f.PCRs[i] != r.PCRs[i] {
			other = append(other, fmt.Sprintf("PCR %d", i))
		}
	}
	if r.Signed != nil && f.judges(11) && !r.Signed[pcr.Policy11(f.PCRs[11])] {
		other = append(other, "signed PCR 11")
	}
	if len(other) > 0 {
		wrong = append(wrong, "other "+strings.Join(other, ", "))
	}
	if r.Content != nil {
		wrong = append(wrong, r.Content.match(f, !f.judges(11))...)
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}
