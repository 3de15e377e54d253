package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"latchkey/kms/server/eventlog"
)

// A Content says what a boot must have measured, whatever values that makes.
// What is not set is not asked. It is judged by the boot's event log, which
// was held against the quoted PCRs.
type Content struct {
	SecureBoot  bool            // it must be on
	PK, KEK, DB []Digest        // certificates, of which no other may be there; nil: any
	DBX         eventlog.Prints // at least these
	SBAT        []SBATLevel     // at least these
	Signers     []Digest        // certificates, of which each must be by whose signature something was started
	AnySigned   bool            // any image that Signers vouch for: PCR 11 is not compared
	Programs    []Digest        // what may be started by the firmware; nil: anything
	CommandLine []string        // one of these is the kernel's; nil: any
	Firmware    []string        // versions, of which one it must be; nil: any
}

// An SBATLevel is the lowest generation of one of SBAT's components.
type SBATLevel struct {
	Component  string
	Generation int
}

// pcrs are those that must be quoted for the content to be judged.
func (c *Content) pcrs() (list []int) {
	for _, one := range []struct {
		asked bool
		pcrs  []int
	}{
		{true, []int{7}},
		{len(c.Firmware) > 0, []int{0}},
		{c.Programs != nil, []int{4}},
		{c.CommandLine != nil, []int{8, 9, 11, 12}}, // GRUB's, the kernel's, the UKI's, the stub's
	} {
		if one.asked {
			list = append(list, one.pcrs...)
		}
	}
	return list
}

// covers tells whether the content says enough of a PCR to stand for its
// value. Of PCR 7 that is who may sign what is started.
func (c *Content) covers(pcr int) bool {
	switch pcr {
	case 7:
		return c.SecureBoot && c.DB != nil
	case 11:
		return c.SecureBoot && c.Signers != nil && c.AnySigned
	case 12:
		return c.CommandLine != nil
	}
	return false
}

// match says what of a boot is not as the content wants it; nothing: it is
// all right. Running: asked by the running system, where PCR 11 has gone on.
func (c *Content) match(f Facts, running bool) (wrong []string) {
	s := f.Boot
	if s == nil {
		return []string{f.unjudged()}
	}
	for _, pcr := range c.pcrs() {
		if _, ok := f.PCRs[pcr]; !ok {
			return []string{fmt.Sprintf("PCR %d was not quoted: it is from the next time it asks", pcr)}
		}
	}

	no := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if c.SecureBoot && s.SecureBoot != eventlog.On {
		no("Secure Boot is %s", known(s.SecureBoot))
	}
	c.matchKeys(s, no)
	c.matchSigners(s, no)
	if rest := s.Rest[7]; c.covers(7) && rest != (Digest{}) && (f.ApprovedBoot == nil || f.ApprovedBoot.Rest[7] != rest) {
		no("PCR 7 has something else of Secure Boot, which was not approved")
	}
	for _, p := range s.Programs {
		if c.Programs != nil && !slices.Contains(c.Programs, p.SHA256) {
			no("%s was started", p.Called(f.Programs))
		}
	}
	if c.Programs != nil && s.Rest[4] != (Digest{}) {
		no("PCR 4 has too many programs to tell")
	}
	if len(c.Firmware) > 0 && !slices.Contains(c.Firmware, s.Firmware) {
		no("firmware is %s", known(s.Firmware))
	}
	if !running {
		c.matchCommandLine(s, no)
	}
	return wrong
}

func known(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}

type refusal func(format string, args ...any)

func (c *Content) matchKeys(s *eventlog.Summary, no refusal) {
	for _, one := range []struct {
		name    string
		allowed []Digest
		keys    *eventlog.Keys
	}{{"PK", c.PK, s.PK}, {"KEK", c.KEK, s.KEK}, {"db", c.DB, s.DB}} {
		switch {
		case one.allowed == nil:
			continue
		case one.keys == nil:
			no("what %s holds is not known", one.name)
			continue
		case one.keys.Hashes.Len()+one.keys.Others > 0:
			no("%s has %d entries that are no certificates", one.name, one.keys.Hashes.Len()+one.keys.Others)
		}
		for _, cert := range one.keys.Certificates {
			if !slices.Contains(one.allowed, cert.SHA256) {
				no("%s has '%s'", one.name, cert.Name)
			}
		}
	}

	if c.DBX != nil && s.DBX == nil {
		no("what dbx holds is not known")
	}
	if c.DBX != nil && s.DBX != nil {
		if n := c.DBX.Without(s.DBX.Hashes); n > 0 {
			no("dbx lacks %d of %d entries", n, c.DBX.Len())
		}
	}
	for _, level := range c.SBAT {
		if is := s.SBAT[level.Component]; is < level.Generation {
			no("SBAT level of %s is %d, not %d", level.Component, is, level.Generation)
		}
	}
}

// matchSigners: what was started was signed by these. What of PCR 7 cannot
// be told may be another's.
func (c *Content) matchSigners(s *eventlog.Summary, no refusal) {
	if c.Signers == nil {
		return
	}
	if len(s.Signers) == 0 {
		no("nothing vouched for what was started")
	}
	if c.AnySigned && !slices.ContainsFunc(s.Sections, func(m eventlog.Measured) bool { return m.Name == ".initrd" }) {
		no("no UKI with an initrd was booted")
	}
	if s.Rest[7] != (Digest{}) {
		no("by what something was started is not known")
	}
	for _, one := range s.Signers {
		if !slices.Contains(c.Signers, one.Certificate.SHA256) {
			no("'%s' of %s vouched for what was started", one.Certificate.Name, one.List)
		}
	}
}

func (c *Content) matchCommandLine(s *eventlog.Summary, no refusal) {
	switch {
	case c.CommandLine == nil:
	case s.CommandLine == "":
		no("the command line is not known")
	case len(s.Config) > 0 && !slices.ContainsFunc(s.Config, func(m eventlog.Measured) bool { return m.Text && m.Name == s.CommandLine }), len(s.Config) > 1:
		no("the boot stub was given more than a command line")
	case !slices.Contains(c.CommandLine, strings.Join(strings.Fields(s.CommandLine), " ")):
		no("command line is %q", s.CommandLine)
	}
}

// Selection are the PCRs to be quoted: those that are pinned, the latch, and
// those that a release is judged by, of the policy or one of the others.
func (p *Policy) Selection(others ...int) []int {
	all := map[int]bool{latchPCR: true}
	for _, pcr := range slices.Concat(QuotedPCRs, others) {
		all[pcr] = true
	}
	for _, r := range p.Releases {
		for pcr := range r.PCRs {
			all[pcr] = true
		}
		for _, pcr := range r.judged() {
			all[pcr] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
