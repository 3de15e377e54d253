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
	// Chain is which kernel, initrd and command line a boot loader must have
	// started; nil: that is not said.
	Chain *Chain
	// Retired is when the operator took it back; zero: it may be booted.
	Retired time.Time
}

// identifies tells whether what was booted is the release's: by PCR 11, or by
// what a boot loader started.
func (r Release) identifies(f Facts) bool {
	value, golden := r.PCRs[11]
	return golden && value == f.PCRs[11] || r.Signed[pcr.Policy11(f.PCRs[11])] || r.Chain != nil && len(r.Chain.match(f)) == 0
}

// retired is since when, for people.
func (r Release) retired() string { return "retired on " + r.Retired.UTC().Format(time.DateOnly) }

// QuotedPCRs are those that every quote holds and approval pins: what the
// firmware checks (7), what was booted (11), its command line (12).
var QuotedPCRs = []int{7, 11, 12}

// covers tells whether the release says what a PCR must be.
func (r Release) covers(pcr int) bool {
	_, golden := r.PCRs[pcr]
	return golden || pcr == 11 && r.Signed != nil || r.Content != nil && r.Content.covers(pcr) || r.Chain != nil && r.Chain.covers(pcr)
}

// judged are the PCRs that it goes by beside its golden values.
func (r Release) judged() (pcrs []int) {
	if r.Content != nil {
		pcrs = r.Content.pcrs()
	}
	if r.Chain != nil {
		pcrs = append(pcrs, ChainPCRs...)
	}
	return pcrs
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
	if r.Chain != nil {
		wrong = append(wrong, r.Chain.match(f)...)
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}
