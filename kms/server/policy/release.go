package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"latchkey/internal/pcr"
)

// A Release is what one build of an image measures.
type Release struct {
	PCRs   map[int]Digest  // golden values
	Signed map[Digest]bool // policy digests over PCR 11 that a trusted key signed; nil: PCR 11 is not signed
}

// QuotedPCRs are those that a quote holds and a release may name: what the
// firmware checks (7), what was booted (11), its command line (12).
var QuotedPCRs = []int{7, 11, 12}

// covers tells whether the release says what a PCR must be.
func (r Release) covers(pcr int) bool {
	_, golden := r.PCRs[pcr]
	return golden || pcr == 11 && r.Signed != nil
}

// match says why a boot state is not this release; nil means that it is, as
// far as the release goes. Only the given PCRs are looked at.
func (r Release) match(pcrs map[int]Digest, only []int) error {
	var wrong []string
	for _, i := range slices.Sorted(maps.Keys(r.PCRs)) {
		if slices.Contains(only, i) && pcrs[i] != r.PCRs[i] {
			wrong = append(wrong, fmt.Sprintf("PCR %d", i))
		}
	}
	if r.Signed != nil && slices.Contains(only, 11) && !r.Signed[pcr.Policy11(pcrs[11])] {
		wrong = append(wrong, "signed PCR 11")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("other %s", strings.Join(wrong, ", "))
	}
	return nil
}
