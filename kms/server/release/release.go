// Package release keeps image releases: what the builds of an image measure,
// and how a group of machines is moved from one to the next.
package release

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"latchkey/kms/server/policy"
)

// Max is how many releases are kept at once: all are looked at in each
// decision.
const Max = 64

// maxText bounds what people are told of a release, in bytes.
const maxText = 512

// A Release is one build of an image, as the ledger keeps it.
type Release struct {
	Name    string                `json:"name"`
	PCRs    map[int]policy.Digest `json:"pcrs,omitempty"`   // golden values of PCRs 7, 11 and 12
	Signed  []policy.Digest       `json:"signed,omitempty"` // policy digests over PCR 11 that a key signed
	Chain   *policy.Chain         `json:"chain,omitempty"`  // what a boot loader must start
	What    string                `json:"what,omitempty"`   // kernel, command line: for people
	Added   time.Time             `json:"added"`
	Retired time.Time             `json:"retired,omitzero"` // no machine may boot it since
	Rolls   []Roll                `json:"rolls,omitempty"`  // groups that are moved to it
}

// A New is a release to be added.
type New struct {
	Name       string                `json:"name"`
	PCRs       map[int]policy.Digest `json:"pcrs"`       // golden values of PCRs 7, 11 and 12
	PublicKey  string                `json:"public_key"` // PEM; with signatures
	Signatures string                `json:"signatures"` // systemd's JSON: PCR 11 may be what the key signed
	Chain      *policy.Chain         `json:"chain"`      // what a boot loader must start, where there is no UKI
	What       string                `json:"what"`       // kernel, command line: for people
}

// Release checks what is to be added.
func (n New) Release(now time.Time) (Release, error) {
	r := Release{Name: n.Name, PCRs: n.PCRs, Chain: n.Chain, What: n.What, Added: now.UTC()}
	if err := CheckName(n.Name); err != nil {
		return r, err
	}
	if len(n.What) > maxText {
		return r, fmt.Errorf("its description has %d bytes, more than %d", len(n.What), maxText)
	}
	for _, i := range slices.Sorted(maps.Keys(n.PCRs)) {
		if !slices.Contains(policy.QuotedPCRs, i) {
			return r, fmt.Errorf("PCR %d: every machine shows PCRs 7, 11 and 12; a release with others is one of kms.yaml", i)
		}
	}
	if value, golden := n.PCRs[11]; golden && !policy.Measured(value) {
		return r, errors.New("PCR 11: nothing measures an initrd in that value: any initrd would be this release")
	}

	if n.Chain != nil {
		return r, n.chain()
	}
	if n.Signatures == "" && n.PublicKey == "" {
		if len(n.PCRs) == 0 {
			return r, errors.New("it says neither values nor signatures, so that any boot would match")
		}
		return r, nil
	}
	if _, golden := n.PCRs[11]; golden {
		return r, errors.New("PCR 11 is either golden or signed")
	}
	signed, err := policy.ReadSigned([]byte(n.Signatures), []byte(n.PublicKey))
	for d := range signed {
		r.Signed = append(r.Signed, d)
	}
	slices.SortFunc(r.Signed, func(a, b policy.Digest) int { return slices.Compare(a[:], b[:]) })
	return r, err
}

// chain checks what a boot loader must start. A boot of it has no UKI, whose
// PCR 11 could be said.
func (n New) chain() error {
	_, golden := n.PCRs[11]
	if _, options := n.PCRs[12]; golden || options || n.Signatures != "" || n.PublicKey != "" {
		return errors.New("it is either a UKI or a kernel with initrd and command line, which say PCRs 11 and 12")
	}
	return n.Chain.Check()
}

// CheckName says what is wrong with a name.
func CheckName(name string) error {
	if name == "" || len(name) > 64 || name == policy.NoRelease || strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+", r))
	}) {
		return fmt.Errorf("%.70q is no name for a release: want up to 64 letters, digits, '.', '_', '-' and '+'", name)
	}
	return nil
}

// Policy is the release as it is judged by.
func (r *Release) Policy() policy.Release {
	p := policy.Release{PCRs: r.PCRs, Chain: r.Chain, Retired: r.Retired}
	if r.Signed != nil {
		p.Signed = map[policy.Digest]bool{}
		for _, d := range r.Signed {
			p.Signed[d] = true
		}
	}
	return p
}

// Covers are the PCRs that it says something of, in words.
func (r *Release) Covers() string {
	var list []string
	for _, i := range slices.Sorted(maps.Keys(r.PCRs)) {
		list = append(list, fmt.Sprintf("PCR %d", i))
	}
	if r.Signed != nil {
		list = append(list, fmt.Sprintf("PCR 11, %d signed", len(r.Signed)))
	}
	if r.Chain != nil {
		list = append(list, "kernel, initrd, command line by "+r.Chain.By())
	}
	return strings.Join(list, ", ")
}

// Roll finds the roll for a group.
func (r *Release) Roll(group string) *Roll {
	for i := range r.Rolls {
		if r.Rolls[i].Group == group {
			return &r.Rolls[i]
		}
	}
	return nil
}
