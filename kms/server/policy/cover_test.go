package policy_test

import (
	"strings"
	"testing"

	"latchkey/internal/pcr"
	"latchkey/kms/server/policy"
)

// own is a PCR 11 that only the init has extended.
var own = policy.Digest(pcr.Phases(pcr.EnterInitrd))

func ones() (d policy.Digest) {
	for i := range d {
		d[i] = 0xff
	}
	return d
}

func TestMeasured(t *testing.T) {
	for _, row := range []struct {
		name  string
		pcr11 policy.Digest
		want  bool
	}{
		{"a bank that nobody extends", policy.Digest{}, false},
		{"a PCR that a reset left at ones", ones(), false},
		{"only the init's word: a plain loader", own, false},
		{"and the latch's: the same machine, running", pcr.Phases(pcr.EnterInitrd, pcr.LeaveInitrd), false},
		{"the latch's word alone is not ours", pcr.Phases(pcr.LeaveInitrd), true},
		{"a stub measured", policy.Digest{11}, true},
	} {
		if got := policy.Measured(row.pcr11); got != row.want {
			t.Errorf("%s: Measured = %t, want %t", row.name, got, row.want)
		}
	}
}

// Each row says what an operator reads of PCR 11, and of the others where
// they are not as usual.
func TestCover(t *testing.T) {
	pins := func(p7, p11, p12 policy.Digest) map[int]policy.Digest {
		return map[int]policy.Digest{7: p7, 11: p11, 12: p12}
	}
	usual := pins(policy.Digest{7}, policy.Digest{11}, policy.Digest{})
	releases := map[string]policy.Release{
		"signed": {Signed: map[policy.Digest]bool{{1}: true}},
		"golden": {PCRs: map[int]policy.Digest{11: {11}}},
		"keys":   {PCRs: map[int]policy.Digest{7: {7}}},
		"plain":  {PCRs: map[int]policy.Digest{11: own}},
		"grub":   {PCRs: map[int]policy.Digest{9: {9}}},
		"blank":  {PCRs: map[int]policy.Digest{9: {}}},
		"all":    {PCRs: map[int]policy.Digest{7: {7}, 11: {11}, 12: {12}}},
	}
	for _, row := range []struct {
		name string
		s    policy.Standing
		kind string
		says []string
	}{
		{"a UKI that was pinned", policy.Standing{Pins: usual}, policy.CoverUKI, []string{"firmware and Secure Boot keys (PCR 7)", "this UKI (PCR 11)", "no command line and no addons"}},
		{"with a command line from outside", policy.Standing{Pins: pins(policy.Digest{7}, policy.Digest{11}, policy.Digest{12})}, policy.CoverUKI, []string{"command line and addons from outside the UKI (PCR 12)"}},
		{"a plain loader", policy.Standing{Pins: pins(policy.Digest{7}, own, policy.Digest{})}, policy.CoverUnmeasured, []string{"nothing measures this initrd: anyone at the disk can replace it", "nothing measures the command line"}},
		{"faults/field.md P15: only SHA-1 is extended", policy.Standing{Pins: pins(policy.Digest{}, own, policy.Digest{})}, policy.CoverUnmeasured, []string{"PCR 7 is blank"}},
		{"PCR 7 all ones", policy.Standing{Pins: pins(ones(), policy.Digest{11}, policy.Digest{})}, policy.CoverUKI, []string{"PCR 7 is blank"}},
		{"approved by an older server while its own system ran", policy.Standing{Pins: map[int]policy.Digest{7: {7}, 12: {}}}, policy.CoverUnmeasured, []string{"PCR 11 is not pinned"}},
		{"its first boot waits", policy.Standing{Pins: map[int]policy.Digest{7: {7}, 12: {}}, Awaits: true}, policy.CoverFirstBoot, []string{"waits for node accept"}},
		{"its first boot is taken", policy.Standing{Pins: map[int]policy.Digest{7: {7}, 12: {}}, Takes: true}, policy.CoverFirstBoot, []string{"is taken as it is"}},
		{"--pcr none", policy.Standing{}, policy.CoverAny, []string{"any boot of this machine gets its keys"}},
		{"only PCR 11 by a release", policy.Standing{Accepted: []string{"signed"}, Releases: releases}, policy.CoverSigned, []string{"PCR 7 is not pinned", "this UKI (PCR 11, signed), by release signed", "PCR 12 is not pinned"}},
		{"a release instead of the pin", policy.Standing{Pins: pins(policy.Digest{7}, own, policy.Digest{}), Accepted: []string{"golden"}, Releases: releases}, policy.CoverUKI, []string{"this UKI (PCR 11), by release golden"}},
		{"as good as the weakest release", policy.Standing{Pins: usual, Accepted: []string{"signed", "golden"}, Releases: releases}, policy.CoverUKI, []string{"by release signed, golden"}},
		{"one release leaves PCR 11 to the pin", policy.Standing{Pins: pins(policy.Digest{7}, own, policy.Digest{}), Accepted: []string{"signed", "keys"}, Releases: releases}, policy.CoverUnmeasured, nil},
		{"a release of a plain loader", policy.Standing{Pins: pins(policy.Digest{7}, own, policy.Digest{}), Accepted: []string{"plain"}, Releases: releases}, policy.CoverUnmeasured, []string{"nothing measures this initrd"}},
		{"a release of GRUB's files", policy.Standing{Pins: pins(policy.Digest{7}, own, policy.Digest{}), Accepted: []string{"grub"}, Releases: releases}, policy.CoverFiles, []string{"as the boot loader read them (PCR 9), by release grub"}},
		{"a release of a PCR 9 that nobody extends", policy.Standing{Pins: pins(policy.Digest{7}, own, policy.Digest{}), Accepted: []string{"blank"}, Releases: releases}, policy.CoverUnmeasured, nil},
		{"a release that is gone lets nothing boot", policy.Standing{Pins: usual, Accepted: []string{"gone", "signed"}, Releases: releases}, policy.CoverSigned, nil},
		{"all releases are gone", policy.Standing{Pins: usual, Accepted: []string{"gone"}, Releases: releases}, policy.CoverUKI, []string{"this UKI (PCR 11)"}},
		{"a release of all", policy.Standing{Accepted: []string{"all"}, Releases: releases}, policy.CoverUKI, []string{"firmware and Secure Boot keys (PCR 7), by release all", "(PCR 12), by release all"}},
		{"none of the releases", policy.Standing{Pins: usual, Accepted: []string{policy.NoRelease}, Releases: releases}, policy.CoverUKI, []string{"this UKI (PCR 11)"}},
	} {
		got := row.s.Cover()
		if got.Kind != row.kind {
			t.Errorf("%s: Cover is %q %q, want %q", row.name, got.Kind, got.Lines, row.kind)
		}
		for _, want := range row.says {
			if !strings.Contains(strings.Join(got.Lines, "\n"), want) {
				t.Errorf("%s: Cover says %q, want %q", row.name, got.Lines, want)
			}
		}
	}
}
