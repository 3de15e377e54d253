package policy_test

import (
	"testing"
	"time"

	"latchkey/kms/server/policy"
)

func TestWindowContains(t *testing.T) {
	for _, row := range []struct {
		window, at string
		want       bool
	}{
		{"mon-fri 08:00-18:00 UTC", "2026-11-23T08:00:00Z", true}, // Monday
		{"mon-fri 08:00-18:00 UTC", "2026-11-23T07:59:59Z", false},
		{"mon-fri 08:00-18:00 UTC", "2026-11-23T17:59:59Z", true},
		{"mon-fri 08:00-18:00 UTC", "2026-11-23T18:00:00Z", false},
		{"mon-fri 08:00-18:00 UTC", "2026-11-22T12:00:00Z", false}, // Sunday
		{"fri 22:00-06:00 UTC", "2026-11-27T23:00:00Z", true},
		{"fri 22:00-06:00 UTC", "2026-11-28T05:59:00Z", true}, // began on Friday
		{"fri 22:00-06:00 UTC", "2026-11-27T05:00:00Z", false},
		{"sat 22:00-06:00 UTC", "2026-11-29T01:00:00Z", true}, // into Sunday
		{"fri-mon 00:00-24:00 UTC", "2026-11-22T23:59:59Z", true},
		{"fri-mon 00:00-24:00 UTC", "2026-11-25T12:00:00Z", false},
		{"tue,thu 10:00-11:00 UTC", "2026-11-26T10:30:00Z", true},
		{"daily 02:00-03:00 Europe/Berlin", "2026-07-01T00:30:00Z", true}, // summer time
		{"daily 02:00-03:00 Europe/Berlin", "2026-12-01T00:30:00Z", false},
		{"daily 02:00-03:00 Europe/Berlin", "2026-12-01T01:30:00Z", true},
	} {
		at, err := time.Parse(time.RFC3339, row.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := window(t, row.window).Contains(at); got != row.want {
			t.Errorf("%q contains %s = %t, want %t", row.window, row.at, got, row.want)
		}
	}
}

func TestMalformedWindows(t *testing.T) {
	for _, s := range []string{
		"", "mon", "mon 08:00-18:00", "mon 08:00-18:00 UTC x", "mo 08:00-18:00 UTC", "mon-xyz 08:00-18:00 UTC", "mon, 08:00-18:00 UTC",
		"mon 8:00-18:00 UTC", "mon 08:00 UTC", "mon 08:00-25:00 UTC", "mon 08:60-18:00 UTC", "mon 08:00-08:00 UTC", "mon 24:00-06:00 UTC",
		"mon 22:00-00:00 UTC", "mon 08:00-24:01 UTC", "mon 08:00-18:00 Local", "mon 08:00-18:00 Mars/Olympus", "mon -8:00-18:00 UTC",
	} {
		if w, err := policy.ParseWindow(s); err == nil {
			t.Errorf("ParseWindow(%q) = %s, want an error", s, w)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, row := range []struct {
		text string
		want time.Duration
	}{{"90d", 90 * 24 * time.Hour}, {"36h", 36 * time.Hour}, {"1h30m", 90 * time.Minute}, {"0", 0}} {
		d, err := policy.ParseDuration(row.text)
		if err != nil || time.Duration(d) != row.want {
			t.Errorf("ParseDuration(%q) = %s, %v, want %s", row.text, d, err, row.want)
		}
		again, err := policy.ParseDuration(d.String())
		if err != nil || again != d {
			t.Errorf("%s does not read as itself: %s, %v", d, again, err)
		}
	}
	for _, s := range []string{"", "d", "-1d", "1.5d", "99999d", "week", "90"} {
		if d, err := policy.ParseDuration(s); err == nil {
			t.Errorf("ParseDuration(%q) = %s, want an error", s, d)
		}
	}
}
