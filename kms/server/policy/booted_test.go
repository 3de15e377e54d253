package policy_test

import (
	"slices"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/policy"
)

// TestSeveralReleases: what the releases that were booted name together need
// not be as it was pinned, in whatever order they are listed; one that does
// not hold as a whole gives none of its values.
func TestSeveralReleases(t *testing.T) {
	for _, row := range []struct {
		name   string
		names  []string
		change func(*policy.Facts)
		want   kms.Status
		says   string
	}{
		{"keys by one, the image by the other", []string{"keys", "image"}, func(*policy.Facts) {}, kms.OK, "and"},
		{"keys alone", []string{"keys"}, func(*policy.Facts) {}, kms.PCRMismatch, "PCRs 11 are not"},
		{"the image alone", []string{"image"}, func(*policy.Facts) {}, kms.PCRMismatch, "PCRs 7 are not"},
		{"what neither names is as pinned", []string{"keys", "image"}, func(f *policy.Facts) { f.PCRs[9], f.Pins[9] = policy.Digest{1}, policy.Digest{9} }, kms.PCRMismatch, "PCRs 9 are not"},
		{"one does not hold", []string{"keys", "image"}, func(f *policy.Facts) { f.PCRs[12] = policy.Digest{1} }, kms.PCRMismatch, "PCRs 11, 12 are not"},
		{"one is retired", []string{"keys", "image"}, func(f *policy.Facts) {
			r := f.Releases["image"]
			r.Retired = now
			f.Releases["image"] = r
		}, kms.PCRMismatch, "PCRs 11 are not"},
		{"a first boot that only one of them measures", []string{"keys", "image"}, func(f *policy.Facts) {
			f.Awaits = true
			delete(f.Pins, 11)
		}, kms.OK, "and"},
		{"a first boot that none of them measures", []string{"keys"}, func(f *policy.Facts) {
			f.Awaits = true
			delete(f.Pins, 11)
		}, kms.PCRMismatch, "node accept takes this boot"},
	} {
		for range 2 { // and the other way around
			f := approved()
			f.Releases["keys"] = policy.Release{PCRs: map[int]policy.Digest{7: {0x77}}}
			f.Releases["image"] = policy.Release{PCRs: map[int]policy.Digest{11: {0x22}, 12: {12}}}
			f.PCRs[7], f.PCRs[11] = policy.Digest{0x77}, policy.Digest{0x22}
			f.Settings.Releases = slices.Clone(row.names)
			row.change(&f)
			v := policy.Judge(f)
			why := ""
			for _, c := range v.Checks {
				if c.Rule == policy.RuleBootState {
					why = c.Why
				}
			}
			if v.Status != row.want || !strings.Contains(why, row.says) {
				t.Errorf("%s, as %v: %v, %q, want %v and %q", row.name, row.names, v.Status, why, row.want, row.says)
			}
			slices.Reverse(row.names)
		}
	}
}

// TestBootedRelease: a boot of several releases is one of that which the
// group is moved to; else of the first.
func TestBootedRelease(t *testing.T) {
	f := approved()
	f.Releases["signed"] = policy.Release{PCRs: map[int]policy.Digest{7: {7}}}
	f.Settings.Releases = []string{"signed", "this", "next"}
	if got := f.BootedRelease(); got != "signed" {
		t.Errorf("BootedRelease = %q, want the first", got)
	}
	f.Rolled = []string{"next", "this"}
	if got := f.BootedRelease(); got != "this" {
		t.Errorf("BootedRelease = %q, want the one of the roll", got)
	}
	f.Settings.Releases, f.Rolled = []string{"next"}, nil
	if got := f.BootedRelease(); got != "" {
		t.Errorf("BootedRelease of another boot = %q", got)
	}
}
