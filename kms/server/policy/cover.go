package policy

import (
	"fmt"

	"latchkey/internal/pcr"
)

// An Unmeasured says what becomes of machines whose initrd nothing measures.
type Unmeasured string

const (
	// UnmeasuredAsk approves one if the operator says so, once.
	UnmeasuredAsk Unmeasured = "ask"
	// UnmeasuredAllow approves one as any other.
	UnmeasuredAllow Unmeasured = "allow"
	// UnmeasuredRefuse approves none, and gives none its secrets.
	UnmeasuredRefuse Unmeasured = "refuse"
)

// Measured tells whether PCR 11 shows that anything but latchkey measured
// what was booted. Without a systemd stub it has only the init's own word,
// or the latch's too; as at power-on, or all ones, it has not even these: a
// bank that is not extended. Who measured is not known from a value alone.
func Measured(pcr11 Digest) bool {
	return !blank(pcr11) && pcr11 != pcr.Phases(pcr.EnterInitrd) && pcr11 != pcr.Phases(pcr.EnterInitrd, pcr.LeaveInitrd)
}

// blank values are those of PCRs that nobody extends.
func blank(d Digest) bool {
	ones := Digest{}
	for i := range ones {
		ones[i] = 0xff
	}
	return d == Digest{} || d == ones
}

// A Standing is what a machine's boot state is judged by.
type Standing struct {
	Pins     map[int]Digest     // approved values, or those that an approval would take
	Awaits   bool               // PCR 11 was not known when it was approved: its first boot waits for the operator
	Takes    bool               // so it was, and its first boot is taken as it is
	Accepted []string           // releases that it may boot: Settings.Releases
	Releases map[string]Release // all there are
}

// Kinds of a Cover.
const (
	CoverSigned     = "UKI, signed"
	CoverUKI        = "UKI"
	CoverFiles      = "kernel, initrd"
	CoverFirstBoot  = "first boot"
	CoverUnmeasured = "UNMEASURED"
	CoverAny        = "ANY BOOT"
)

// A Cover says what a boot state protects against.
type Cover struct {
	Kind  string   `json:"kind"`  // in a word or two, by PCR 11
	Lines []string `json:"lines"` // what each PCR covers, or that it covers nothing
}

// Cover says what is covered, and what is not.
func (s Standing) Cover() Cover {
	if len(s.Pins) == 0 && !s.Covered(7) && !s.Covered(11) && !s.Covered(12) && !s.Awaits && !s.Takes {
		return Cover{CoverAny, []string{"no boot state is pinned: any boot of this machine gets its keys"}}
	}
	kind, line := s.cover11()
	return Cover{kind, []string{s.cover7(), line, s.cover12(kind)}}
}

// Covered tells whether all releases that the machine may boot say what a
// PCR must be.
func (s Standing) Covered(pcr int) bool {
	return s.all(func(r Release) bool { return r.covers(pcr) })
}

// Boots tells whether all of them say what initrd must be booted.
func (s Standing) Boots() bool { return s.all(Release.measures) }

// measures tells whether a boot of the release is one of a known initrd: by
// PCR 11, or by what GRUB and the kernel's EFI stub read (PCR 9), as a value
// or as a chain's files.
func (r Release) measures() bool {
	if value, golden := r.PCRs[11]; golden {
		return Measured(value)
	}
	return r.covers(11) || !blank(r.PCRs[9]) || r.Chain != nil
}

func (s Standing) all(is func(Release) bool) bool {
	some := false
	for _, name := range s.Accepted {
		r, ok := s.Releases[name]
		if ok && !is(r) {
			return false
		}
		some = some || ok // one that is gone lets nothing boot
	}
	return some
}

func (s Standing) cover7() string {
	value, pinned := s.Pins[7]
	switch {
	case s.Covered(7):
		return fmt.Sprintf("firmware and Secure Boot keys (PCR 7), by release %s", listOr(s.Accepted, ""))
	case !pinned:
		return "PCR 7 is not pinned: any firmware settings and Secure Boot keys"
	case blank(value):
		return "PCR 7 is blank: the firmware measures no Secure Boot keys into the SHA-256 bank; enable that bank in its setup"
	}
	return "firmware and Secure Boot keys (PCR 7)"
}

// cover11 is the one that counts: what kernel and initrd are measured by.
func (s Standing) cover11() (kind, line string) {
	value, pinned := s.Pins[11]
	switch {
	case s.Boots():
		return s.coverRelease()
	case s.Awaits:
		return CoverFirstBoot, "PCR 11 is not known yet: its first boot waits for node accept"
	case s.Takes:
		return CoverFirstBoot, "PCR 11 is not known yet: its first boot is taken as it is"
	case !pinned:
		return CoverUnmeasured, "PCR 11 is not pinned: anyone at the disk can replace the initrd"
	case !Measured(value):
		return CoverUnmeasured, "nothing measures this initrd: anyone at the disk can replace it"
	}
	return CoverUKI, "this UKI (PCR 11)"
}

// coverRelease is as good as the weakest release.
func (s Standing) coverRelease() (kind, line string) {
	by := "by release " + listOr(s.Accepted, "")
	switch {
	case s.all(func(r Release) bool { return r.Signed != nil || r.Content != nil && r.Content.covers(11) }):
		return CoverSigned, "this UKI (PCR 11, signed), " + by
	case s.Covered(11):
		return CoverUKI, "this UKI (PCR 11), " + by
	}
	return CoverFiles, "this kernel and initrd, as the boot loader read them (PCR 9), " + by
}

func (s Standing) cover12(kind string) string {
	value, pinned := s.Pins[12]
	switch {
	case s.Covered(12):
		return fmt.Sprintf("command line and addons from outside the UKI (PCR 12), by release %s", listOr(s.Accepted, ""))
	case !pinned:
		return "PCR 12 is not pinned: any command line and addons from outside a UKI"
	case blank(value) && kind == CoverUnmeasured:
		return "PCR 12 is blank: nothing measures the command line"
	case blank(value):
		return "no command line and no addons from outside the UKI (PCR 12 is zero)"
	}
	return "command line and addons from outside the UKI (PCR 12)"
}
