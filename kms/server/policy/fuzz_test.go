package policy_test

import (
	"strings"
	"testing"
	"time"

	"latchkey/kms/server/policy"
)

// A window that is taken reads as itself, and is open at some minute of the
// week and closed at some other, unless it is the whole week.
func FuzzWindow(f *testing.F) {
	for _, s := range []string{"mon-fri 22:00-06:00 UTC", "daily 00:00-24:00 Europe/Berlin", "sun,wed 01:02-03:04 UTC", "fri-mon 23:59-00:01 UTC", "mon 00:00-24:00 ../etc/passwd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, err := policy.ParseWindow(s)
		if err != nil {
			return
		}

		again, err := policy.ParseWindow(w.String())
		if err != nil || again.String() != w.String() {
			t.Fatalf("%q reads as %q, and that as %q (%v)", s, w, again, err)
		}

		open := 0
		for m := range 7 * 24 * 60 {
			at := time.Date(2026, 6, 1, 0, m, 30, 0, time.UTC)
			if w.Contains(at) != again.Contains(at) {
				t.Fatalf("%q and %q differ at %s", s, w, at)
			}
			if w.Contains(at) {
				open++
			}
		}

		whole := strings.Contains(w.String(), "00:00-24:00")
		if open == 0 || open == 7*24*60 && !whole {
			t.Errorf("%q is open for %d minutes of a week", s, open)
		}
	})
}

// What people write into files and flags is taken or refused, never more.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{"11:sha256=" + strings.Repeat("0a", 32), "site=lab", "90d", "1h30m", "7:sha256=", "=", "-1:sha256=00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v policy.PCRValue
		if err := v.UnmarshalText([]byte(s)); err == nil && v.PCR != 7 && v.PCR != 11 && v.PCR != 12 {
			t.Errorf("%q is a value of PCR %d", s, v.PCR)
		}
		if key, value, err := policy.ParseLabel(s); err == nil && key+"="+value != s {
			t.Errorf("%q is the label %q of %q", s, key, value)
		}
		if d, err := policy.ParseDuration(s); err == nil {
			if again, err := policy.ParseDuration(d.String()); err != nil || again != d {
				t.Errorf("%q is %s, which reads as %s (%v)", s, d, again, err)
			}
		}
	})
}
