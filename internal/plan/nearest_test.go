package plan_test

import (
	"strings"
	"testing"
)

// An option of ours that is misspelled is named, with the one that is meant;
// others that only look alike are left to their owners.
func TestMisspelt(t *testing.T) {
	for option, want := range map[string]string{
		"latchkey.kms=kms2.local":      "the nearest is rd.latchkey.kms=",
		"latchkey.timeout=60":          "the nearest is rd.latchkey.timeout=",
		"rd.lachkey.kms=kms2.local":    "the nearest is rd.latchkey.kms=",
		"rd.latchkey.km=kms2.local":    "rd.latchkey.kms= is one",
		"rd.latchkey.timeot=60":        "rd.latchkey.timeout= is one",
		"rd.latchkey.reports=0":        "rd.latchkey.report= is one",
		"rd.latchkey_service=_x._tcp":  "the nearest is rd.latchkey.service=",
		"rd.latchkey.trust=lk1:AAAA":   "trust and volumes come from the image's plan only",
		"rd.latchkey.report=0":         "",
		"systemd.unit=rescue.target":   "",
		"watchdog.handle_boot_enabled": "",
	} {
		if _, text := hinted(t, two(), option); !strings.Contains(text, want) || want == "" && text != "" {
			t.Errorf("%s: problems %q, want %q", option, text, want)
		}
	}
	if _, text := hinted(t, two(), "rd.latchkey.kms=2001:db8::1"); !strings.Contains(text, "an IPv6 address stands in brackets: http://[2001:db8::1]") {
		t.Errorf("IPv6 without brackets: problems %q", text)
	}
}
