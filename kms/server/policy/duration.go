package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Duration is written as 90d, 36h or 1h30m.
type Duration time.Duration

// ParseDuration reads what time.ParseDuration does, and whole days.
func ParseDuration(s string) (Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("reading %q: not a number of days, as in 90d", s)
		}
		return Duration(time.Duration(n) * 24 * time.Hour), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("reading %q: not a duration, as in 90d or 36h", s)
	}
	return Duration(d), nil
}

func (d Duration) String() string {
	if t := time.Duration(d); t != 0 && t%(24*time.Hour) == 0 {
		return strconv.Itoa(int(t/(24*time.Hour))) + "d"
	}
	return time.Duration(d).String()
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}
