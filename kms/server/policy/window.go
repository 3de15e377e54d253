package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	// Zones are in node records: a host without zone files must read them too.
	_ "time/tzdata"
)

// A Window is a time of the week, written "mon-fri 22:00-06:00 Europe/Berlin".
// One whose end is not after its begin ends on the next day.
type Window struct {
	days     [7]bool // by time.Weekday: on which it begins
	from, to int     // minutes of the day; to is up to 24:00
	zone     *time.Location
	text     string
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseWindow reads a window: days, times, zone.
func ParseWindow(s string) (w Window, err error) {
	words := strings.Fields(s)
	if len(words) != 3 {
		return w, fmt.Errorf("reading window %q: want days, times and zone, as in %q", s, "mon-fri 22:00-06:00 Europe/Berlin")
	}

	if err := w.parseDays(strings.ToLower(words[0])); err != nil {
		return w, fmt.Errorf("reading window %q: %w", s, err)
	}
	from, to, ok := strings.Cut(words[1], "-")
	if !ok {
		return w, fmt.Errorf("reading window %q: %q is no range of times, as in 22:00-06:00", s, words[1])
	}

	if w.from, err = parseMinute(from); err == nil {
		w.to, err = parseMinute(to)
	}
	switch {
	case err != nil:
		return w, fmt.Errorf("reading window %q: %w", s, err)
	case w.from == w.to || w.from == 24*60 || w.to == 0:
		return w, fmt.Errorf("reading window %q: a whole day is 00:00-24:00", s)
	}

	// "Local" would mean another time when the server moves, and the empty
	// name UTC by accident.
	if words[2] == "Local" {
		return w, fmt.Errorf("reading window %q: name the zone, as in Europe/Berlin or UTC", s)
	}
	if w.zone, err = time.LoadLocation(words[2]); err != nil {
		return w, fmt.Errorf("reading window %q: %q is no time zone, as Europe/Berlin or UTC are", s, words[2])
	}

	w.text = strings.ToLower(words[0]) + " " + words[1] + " " + words[2]
	return w, nil
}

func (w *Window) parseDays(list string) error {
	if list == "daily" {
		list = "sun-sat"
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, b := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if a < 0 || b < 0 {
			return fmt.Errorf("%q is neither daily nor a day or range of mon, tue, wed, thu, fri, sat, sun", part)
		}

		for ; a != b; a = (a + 1) % 7 {
			w.days[a] = true
		}
		w.days[b] = true
	}
	return nil
}

// parseMinute reads HH:MM, 00:00 to 24:00.
func parseMinute(s string) (int, error) {
	if len(s) != 5 || s[2] != ':' {
		return 0, fmt.Errorf("%q is no time, as 06:00 is", s)
	}
	h, errH := strconv.ParseUint(s[:2], 10, 8)
	m, errM := strconv.ParseUint(s[3:], 10, 8)
	if errH != nil || errM != nil || m > 59 || h > 24 || h == 24 && m != 0 {
		return 0, fmt.Errorf("%q is no time, as 06:00 is", s)
	}
	return int(h)*60 + int(m), nil
}

// Contains tells whether the window is open at t.
func (w Window) Contains(t time.Time) bool {
	t = t.In(w.zone)
	day, minute := t.Weekday(), t.Hour()*60+t.Minute()
	if w.from < w.to {
		return w.days[day] && minute >= w.from && minute < w.to
	}
	return w.days[day] && minute >= w.from || w.days[(day+6)%7] && minute < w.to
}

func (w Window) String() string { return w.text }

// MarshalText implements encoding.TextMarshaler.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.text), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *Window) UnmarshalText(b []byte) (err error) {
	*w, err = ParseWindow(string(b))
	return err
}
