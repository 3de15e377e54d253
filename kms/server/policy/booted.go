package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"latchkey/kms"
)

// bootStateRule: what a matching release names must be the release's, and
// what no matching release names must be what was approved. A running system has gone
// on in PCR 11, so put and enroll are judged by PCRs 7 and 12.
func bootStateRule(f Facts) (kms.Status, string) {
	if f.State != Approved {
		return 0, "is pinned by approval"
	}

	booted, why := f.matching()
	if gone := f.retired(); len(booted) == 0 && gone != "" {
		why = gone
	}
	if why == "" {
		why = f.unmeasured(f.any(booted, Release.measures))
	}
	if why != "" {
		return kms.PCRMismatch, f.explained(why)
	}

	var wrong, held, accepted, announced []string
	for _, pcr := range slices.Sorted(maps.Keys(f.Pins)) {
		if f.any(booted, func(r Release) bool { return r.covers(pcr) }) || !f.judges(pcr) {
			continue
		}
		if by := f.accepts(pcr); f.PCRs[pcr] != f.Pins[pcr] && by != "" {
			accepted = append(accepted, by)
			continue
		}
		if f.PCRs[pcr] != f.Pins[pcr] && f.announced(pcr) {
			announced = append(announced, fmt.Sprint(pcr))
			continue
		}
		held = append(held, fmt.Sprint(pcr))
		if f.PCRs[pcr] != f.Pins[pcr] {
			wrong = append(wrong, fmt.Sprint(pcr))
		}
	}

	if len(wrong) > 0 {
		return kms.PCRMismatch, f.explained(fmt.Sprintf("PCRs %s are not the approved ones: node accept takes them", strings.Join(wrong, ", ")))
	}
	var said []string
	if len(booted) > 0 {
		said = append(said, "booted release "+strings.Join(booted, " and "))
	}

	if len(held) > 0 {
		said = append(said, fmt.Sprintf("PCRs %s are as approved", strings.Join(held, ", ")))
	}
	if len(announced) > 0 {
		said = append(said, fmt.Sprintf("PCRs %s changed as its system announced, and are pinned now", strings.Join(announced, ", ")))
	}
	return 0, listOr(append(said, accepted...), "no PCR is pinned")
}

// unmeasured says why a boot is refused because of what is not measured, or
// not known to be; empty: it is not. Released: a release that was booted says
// which initrd it is.
func (f Facts) unmeasured(released bool) string {
	switch {
	case !f.unlocking():
		return ""
	case f.Settings.Unmeasured == UnmeasuredRefuse && !Measured(f.PCRs[11]) && !released:
		return "nothing measures this initrd (PCR 11 has no UKI), and its setting is unmeasured: refuse"
	case f.Awaits && !released:
		return "it was approved while its own system ran, so PCR 11 was not known: node accept takes this boot"
	}
	return ""
}

// retired says that a release was booted that may not be any more, pinned or
// not; empty: none was.
func (f Facts) retired() string {
	if !f.judges(11) {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(f.Releases)) {
		if r := f.Releases[name]; !r.Retired.IsZero() && r.identifies(f) {
			return fmt.Sprintf("booted release %s, which was %s: boot a later one", name, r.retired())
		}
	}
	return ""
}

// BootedRelease is the name of the release that was booted; empty: none that
// the machine may boot. Of several it is one that its group is moved to, so
// that a roll counts it, or the first.
func (f Facts) BootedRelease() string {
	names, _ := f.matching()
	for _, name := range names {
		if slices.Contains(f.Rolled, name) {
			return name
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// Known names a release that a boot state is by PCR 11, or by what a boot
// loader started, and all else that it says, and that is not retired; empty: there is none.
func (f Facts) Known() string {
	for _, name := range slices.Sorted(maps.Keys(f.Releases)) {
		if r := f.Releases[name]; (r.covers(11) || r.Chain != nil) && r.measures() && r.match(f) == nil {
			return name
		}
	}
	return ""
}

// matching are the releases that were booted, of those that the machine may
// boot; why is not empty if it should be one and is none. A boot may be of
// several, as one release says which keys and another which image: each value
// that one of them names was looked at by that one, and all of them hold. A
// release that does not hold as a whole covers nothing.
func (f Facts) matching() (names []string, why string) {
	may := f.Settings.Releases
	bound := len(may) > 0 && may[0] != NoRelease
	if !bound {
		may = nil
	}

	var not []string
	for _, name := range slices.Concat(may, f.Rolled) {
		r, ok := f.Releases[name]
		if !ok {
			not = append(not, name+" (not in the configuration)")
			continue
		}
		switch err := r.match(f); {
		case err != nil:
			not = append(not, fmt.Sprintf("%s (%v)", name, err))
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}

	if len(names) == 0 && bound {
		return nil, "booted none of the releases " + strings.Join(not, ", ")
	}
	return names, ""
}

// any tells whether one of the named releases is so.
func (f Facts) any(names []string, is func(Release) bool) bool {
	return slices.ContainsFunc(names, func(name string) bool { return is(f.Releases[name]) })
}
