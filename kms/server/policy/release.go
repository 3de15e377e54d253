package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	for _, pcr := range slices.Sorted(maps.Keys(r.PCRs)) {
		if slices.Contains(only, pcr) && pcrs[pcr] != r.PCRs[pcr] {
			wrong = append(wrong, fmt.Sprintf("PCR %d", pcr))
		}
	}
	if r.Signed != nil && slices.Contains(only, 11) && !r.Signed[policyPCR11(pcrs[11])] {
		wrong = append(wrong, "signed PCR 11")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("other %s", strings.Join(wrong, ", "))
	}
	return nil
}

// policyPCR11 is the digest of a policy that is PolicyPCR of PCR 11 alone,
// SHA-256 bank (Part 3, section 23.7): what systemd-measure(1) signs.
func policyPCR11(value Digest) Digest {
	values := sha256.Sum256(value[:])
	b := make([]byte, 32, 128)                             // an empty policy
	b = binary.BigEndian.AppendUint32(b, 0x0000017f)       // TPM_CC_PolicyPCR
	b = binary.BigEndian.AppendUint32(b, 1)                // one bank
	b = append(b, 0x00, 0x0b, 0x03, 0x00, 1<<(11-8), 0x00) // SHA-256; three bytes of bits
	return sha256.Sum256(append(b, values[:]...))
}
