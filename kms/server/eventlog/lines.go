package eventlog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Lines say what was booted, for people: one for each thing that is known.
func (s *Summary) Lines(names map[Digest]string) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	say("Secure Boot is %s", orUnknown(s.SecureBoot))
	for _, one := range []struct {
		name string
		keys *Keys
	}{{"PK", s.PK}, {"KEK", s.KEK}, {"db", s.DB}, {"dbx", s.DBX}} {
		if one.keys != nil {
			say("%s has %s", one.name, one.keys)
		}
	}
	for _, one := range s.Signers {
		say("started by a signature of '%s' (%s)", one.Certificate.Name, one.List)
	}
	var levels []string
	for _, name := range slices.Sorted(maps.Keys(s.SBAT)) {
		levels = append(levels, fmt.Sprintf("%s %d", name, s.SBAT[name]))
	}
	if len(levels) > 0 {
		say("SBAT level: %s", strings.Join(levels, ", "))
	}
	if s.Firmware != "" {
		say("firmware %s", s.Firmware)
	}
	for _, p := range s.Programs {
		say("the firmware started %s", p.Called(names))
	}
	if k := s.kernel(); k != "" {
		say("kernel %s", k)
	}
	if s.CommandLine != "" {
		say("command line %s", s.CommandLine)
	}
	for _, odd := range s.Odd {
		say("odd: %s", odd)
	}
	return lines
}

// String lists what is there.
func (k *Keys) String() string {
	var parts []string
	for _, c := range k.Certificates {
		parts = append(parts, "'"+c.Name+"'")
	}
	if n := k.Hashes.Len(); n > 0 {
		parts = append(parts, count(n))
	}
	if k.Others > 0 {
		parts = append(parts, fmt.Sprintf("%d entries that cannot be read", k.Others))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
