package plan

import (
	"errors"
	"slices"
	"time"

	"latchkey/internal/mapping"
)

// DefaultDegraded is Plan.Degraded unless latchkey.yaml says another.
const DefaultDegraded = 3 * time.Second

// NeverDegraded is Plan.Degraded where an array runs only if it is whole.
const NeverDegraded time.Duration = -1

// Arrays is what the command line says of the arrays of md. It only puts off
// those that it does not want: a boot that the image alone would have made
// does not fail for it.
type Arrays struct {
	Off   bool     // rd.md=0
	UUIDs []string // rd.md.uuid=: those that are wanted; none is all
}

// Wants tells whether the command line leaves an array alone.
func (a Arrays) Wants(uuid string) bool {
	return !a.Off && (len(a.UUIDs) == 0 || slices.ContainsFunc(a.UUIDs, func(u string) bool { return mapping.SameArrayUUID(u, uuid) }))
}

// maxArrays is how many options may name arrays.
const maxArrays = 64

// arrayHint is rd.md= and rd.md.uuid= of dracut.cmdline(7).
func arrayHint(p *Plan, a Arg) string {
	if a.Is("rd.md") {
		on, err := parseBool(a)
		if err != nil {
			return err.Error()
		}
		p.Arrays.Off = !on
		return ""
	}
	switch {
	case !mapping.IsArrayUUID(a.Value):
		return "want the array's UUID, 32 hexadecimal digits: mdadm --detail shows it"
	case len(p.Arrays.UUIDs) >= maxArrays:
		return "not used: there are too many of these"
	}
	p.Arrays.UUIDs = append(p.Arrays.UUIDs, a.Value)
	return ""
}

func (p *Plan) checkDegraded() error {
	if p.Degraded < NeverDegraded || p.Degraded > time.Hour {
		return errors.New("degraded: want never, or a time of at most 1h such as 3s")
	}
	return nil
}
