package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"latchkey/internal/pcr"
	"latchkey/kms"
	"latchkey/kms/server/policy"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) // a Monday

// approved is a node that boots what was approved.
func approved() policy.Facts {
	state := map[int]policy.Digest{7: {7}, 11: {11}, 12: {12}}
	return policy.Facts{
		Now: now, Operation: kms.Get, From: netip.MustParseAddr("192.0.2.7"), PCRs: map[int]policy.Digest{7: {7}, 11: {11}, 12: {12}, 15: {}},
		Clock: policy.Clock{Reset: 3}, State: policy.Approved, Heard: now.Add(-time.Hour), Approved: now.Add(-24 * time.Hour),
		Seen: policy.Clock{Reset: 3}, Pins: state, Booted: true, InBoot: 2, InHour: 4,
		Releases: map[string]policy.Release{
			"this":  {PCRs: map[int]policy.Digest{11: {11}}},
			"next":  {PCRs: map[int]policy.Digest{11: {0x22}, 12: {12}}},
			"other": {PCRs: map[int]policy.Digest{7: {0x77}}},
		},
	}
}

func ptr[T any](v T) *T { return &v }

func window(t *testing.T, s string) policy.Window {
	t.Helper()
	w, err := policy.ParseWindow(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Each row changes one thing of a node that is served.
func TestJudge(t *testing.T) {
	night := []policy.Window{window(t, "daily 22:00-06:00 UTC")}
	day := []policy.Window{window(t, "tue 08:00-18:00 UTC"), window(t, "mon 08:00-18:00 UTC")}
	for _, row := range []struct {
		name   string
		change func(*policy.Facts)
		status kms.Status
		reason policy.Rule
	}{
		{"nothing", func(*policy.Facts) {}, kms.OK, ""},
		{"deleted", func(f *policy.Facts) { f.State = policy.Deleted }, kms.Refused, "state"},
		{"deleted wins over quarantined", func(f *policy.Facts) { f.State, f.Quarantined = policy.Deleted, true }, kms.Refused, "state"},
		{"quarantined wins over all below", func(f *policy.Facts) { f.Quarantined, f.PCRs[7] = true, policy.Digest{} }, kms.Quarantined, "quarantine"},
		{"pending", func(f *policy.Facts) {
			f.State, f.Admit = policy.Pending, policy.Admission{Status: kms.Pending, Why: "waits"}
		}, kms.Pending, "enrollment"},
		{"unknown, closed", func(f *policy.Facts) {
			f.State, f.Admit = policy.Unknown, policy.Admission{Status: kms.Refused, Why: "closed"}
		}, kms.Refused, "enrollment"},
		{"unknown, from elsewhere", func(f *policy.Facts) {
			f.State, f.Admit, f.Settings.Networks = policy.Unknown, policy.Admission{Status: kms.Pending, Why: "waits"}, prefixes("198.51.100.0/24")
		}, kms.Refused, "network"},
		{"network", func(f *policy.Facts) { f.Settings.Networks = prefixes("2001:db8::/32", "192.0.2.0/24") }, kms.OK, ""},
		{"network, mapped address", func(f *policy.Facts) {
			f.From, f.Settings.Networks = netip.MustParseAddr("::ffff:192.0.2.7"), prefixes("192.0.2.0/24")
		}, kms.OK, ""},
		{"network, link-local with its zone", func(f *policy.Facts) {
			f.From, f.Settings.Networks = netip.MustParseAddr("fe80::1%eth0"), prefixes("fe80::/10")
		}, kms.OK, ""},
		{"other network", func(f *policy.Facts) { f.Settings.Networks = prefixes("192.0.2.0/30") }, kms.Refused, "network"},
		{"unknown address", func(f *policy.Facts) { f.From, f.Settings.Networks = netip.Addr{}, prefixes("0.0.0.0/0", "::/0") }, kms.Refused, "network"},

		{"silent within the limit", func(f *policy.Facts) { f.Settings.Silence = ptr(policy.Duration(time.Hour)) }, kms.OK, ""},
		{"silent for longer", func(f *policy.Facts) { f.Settings.Silence = ptr(policy.Duration(time.Hour - 1)) }, kms.Pending, "silence"},
		{"silence without limit", func(f *policy.Facts) { f.Heard, f.Settings.Silence = time.Time{}, ptr(policy.Duration(0)) }, kms.OK, ""},
		{"lapsed before", func(f *policy.Facts) { f.Lapsed = now.Add(-time.Minute) }, kms.Pending, "silence"},

		{"in a window", func(f *policy.Facts) { f.Settings.Windows = day }, kms.OK, ""},
		{"outside", func(f *policy.Facts) { f.Settings.Windows = night }, kms.Refused, "window"},
		{"outside, approved yesterday", func(f *policy.Facts) { f.Settings.Windows, f.Settings.Outside = night, policy.OutsideApprove }, kms.Pending, "window"},
		{"outside, approved just now", func(f *policy.Facts) {
			f.Settings.Windows, f.Settings.Outside, f.Approved = night, policy.OutsideApprove, now.Add(-59*time.Minute)
		}, kms.OK, ""},
		{"outside, approved just now, but refuse", func(f *policy.Facts) {
			f.Settings.Windows, f.Settings.Outside, f.Approved = night, policy.OutsideRefuse, now.Add(-time.Minute)
		}, kms.Refused, "window"},
		{"outside, clock set back behind the approval", func(f *policy.Facts) {
			f.Settings.Windows, f.Settings.Outside, f.Approved = night, policy.OutsideApprove, now.Add(time.Minute)
		}, kms.Pending, "window"},
		{"enroll outside", func(f *policy.Facts) { f.Settings.Windows, f.Operation = night, kms.Enroll }, kms.OK, ""},

		{"PCR 15", func(f *policy.Facts) { f.PCRs[15] = policy.Digest{1} }, kms.PCR15Used, "latch"},
		{"PCR 15, stage", func(f *policy.Facts) { f.PCRs[15], f.Operation = policy.Digest{1}, kms.Stage }, kms.PCR15Used, "latch"},
		{"PCR 15, put", func(f *policy.Facts) { f.PCRs[15], f.Operation = policy.Digest{1}, kms.Put }, kms.OK, ""},
		{"counters fell", func(f *policy.Facts) { f.Seen.Reset = 4 }, kms.TPMCleared, "counters"},
		{"counters fell, put", func(f *policy.Facts) { f.Seen.Restart, f.Operation = 1, kms.Put }, kms.TPMCleared, "counters"},

		{"other firmware policy", func(f *policy.Facts) { f.PCRs[7] = policy.Digest{1} }, kms.PCRMismatch, "boot-state"},
		{"other kernel", func(f *policy.Facts) { f.PCRs[11] = policy.Digest{1} }, kms.PCRMismatch, "boot-state"},
		{"other command line", func(f *policy.Facts) { f.PCRs[12] = policy.Digest{1} }, kms.PCRMismatch, "boot-state"},
		{"no pins", func(f *policy.Facts) { f.Pins, f.PCRs[7] = nil, policy.Digest{1} }, kms.OK, ""},
		{"put, other firmware policy", func(f *policy.Facts) { f.Operation, f.PCRs[7] = kms.Put, policy.Digest{1} }, kms.PCRMismatch, "boot-state"},
		{"enroll, other command line", func(f *policy.Facts) { f.Operation, f.PCRs[12] = kms.Enroll, policy.Digest{1} }, kms.PCRMismatch, "boot-state"},
		{"put, PCR 11 went on", func(f *policy.Facts) { f.Operation, f.PCRs[11] = kms.Put, policy.Digest{1} }, kms.OK, ""},

		{"this release", func(f *policy.Facts) { f.Settings.Releases = []string{"this"} }, kms.OK, ""},
		{"another release", func(f *policy.Facts) { f.Settings.Releases = []string{"next"} }, kms.PCRMismatch, "boot-state"},
		{"one of two releases", func(f *policy.Facts) { f.Settings.Releases = []string{"next", "this"} }, kms.OK, ""},
		{"a release that the configuration lost", func(f *policy.Facts) { f.Settings.Releases = []string{"gone"} }, kms.PCRMismatch, "boot-state"},
		{"release instead of the pin", func(f *policy.Facts) {
			f.PCRs[11], f.Settings.Releases = policy.Digest{0x22}, []string{"next"}
		}, kms.OK, ""},
		{"a release leaves other pins alone", func(f *policy.Facts) {
			f.PCRs[11], f.PCRs[7], f.Settings.Releases = policy.Digest{0x22}, policy.Digest{1}, []string{"next"}
		}, kms.PCRMismatch, "boot-state"},
		{"no release is wanted", func(f *policy.Facts) { f.Settings.Releases = []string{policy.NoRelease} }, kms.OK, ""},
		{"put, release by PCR 11", func(f *policy.Facts) {
			f.Operation, f.PCRs[11], f.Settings.Releases = kms.Put, policy.Digest{1}, []string{"this"}
		}, kms.OK, ""},
		{"put, release by PCR 7", func(f *policy.Facts) { f.Operation, f.Settings.Releases = kms.Put, []string{"other"} }, kms.PCRMismatch, "boot-state"},

		{"no initrd is measured, as it was approved", func(f *policy.Facts) { f.PCRs[11], f.Pins[11] = own, own }, kms.OK, ""},
		{"so it is, and unmeasured is allow", func(f *policy.Facts) {
			f.PCRs[11], f.Pins[11], f.Settings.Unmeasured = own, own, policy.UnmeasuredAllow
		}, kms.OK, ""},
		{"so it is, and unmeasured is refuse", func(f *policy.Facts) {
			f.PCRs[11], f.Pins[11], f.Settings.Unmeasured = own, own, policy.UnmeasuredRefuse
		}, kms.PCRMismatch, "boot-state"},
		{"nothing is pinned, and unmeasured is refuse", func(f *policy.Facts) {
			f.PCRs[11], f.Pins, f.Settings.Unmeasured = own, nil, policy.UnmeasuredRefuse
		}, kms.PCRMismatch, "boot-state"},
		{"a UKI, and unmeasured is refuse", func(f *policy.Facts) { f.Settings.Unmeasured = policy.UnmeasuredRefuse }, kms.OK, ""},
		{"put, and unmeasured is refuse", func(f *policy.Facts) {
			f.Operation, f.PCRs[11], f.Settings.Unmeasured = kms.Put, own, policy.UnmeasuredRefuse
		}, kms.OK, ""},
		{"its first boot waits", func(f *policy.Facts) { f.Awaits = true; delete(f.Pins, 11) }, kms.PCRMismatch, "boot-state"},
		{"its first boot is a release", func(f *policy.Facts) {
			f.Awaits, f.Settings.Releases = true, []string{"this"}
			delete(f.Pins, 11)
		}, kms.OK, ""},
		{"its first boot is a release that leaves PCR 11 alone", func(f *policy.Facts) {
			f.Awaits, f.PCRs[7], f.Pins[7], f.Settings.Releases = true, policy.Digest{0x77}, policy.Digest{0x77}, []string{"other"}
			delete(f.Pins, 11)
		}, kms.PCRMismatch, "boot-state"},
		{"its first boot is a release of files, and unmeasured is refuse", func(f *policy.Facts) {
			f.PCRs[9], f.PCRs[11], f.Releases["grub"] = policy.Digest{9}, own, policy.Release{PCRs: map[int]policy.Digest{9: {9}}}
			f.Awaits, f.Settings.Releases, f.Settings.Unmeasured = true, []string{"grub"}, policy.UnmeasuredRefuse
			delete(f.Pins, 11)
		}, kms.OK, ""},
		{"a release of a plain loader, and unmeasured is refuse", func(f *policy.Facts) {
			f.PCRs[11], f.Releases["plain"] = own, policy.Release{PCRs: map[int]policy.Digest{11: own}}
			f.Settings.Releases, f.Settings.Unmeasured = []string{"plain"}, policy.UnmeasuredRefuse
		}, kms.PCRMismatch, "boot-state"},
		{"put before its first boot", func(f *policy.Facts) { f.Awaits, f.Operation = true, kms.Put }, kms.OK, ""},

		{"a release that was retired", func(f *policy.Facts) { f.Settings.Releases = []string{"this"}; retire(f, "this") }, kms.PCRMismatch, "boot-state"},
		{"a release that was retired, as pinned", func(f *policy.Facts) { retire(f, "this") }, kms.PCRMismatch, "boot-state"},
		{"a signed release that was retired, as pinned", func(f *policy.Facts) {
			f.Releases["signed"] = policy.Release{Signed: map[policy.Digest]bool{pcr.Policy11(policy.Digest{11}): true}}
			retire(f, "signed")
		}, kms.PCRMismatch, "boot-state"},
		{"a release that was retired, but another says the same", func(f *policy.Facts) {
			f.Releases["that"], f.Settings.Releases = f.Releases["this"], []string{"this", "that"}
			retire(f, "this")
		}, kms.OK, ""},
		{"another release was retired", func(f *policy.Facts) { retire(f, "next") }, kms.OK, ""},
		{"put, a release that was retired", func(f *policy.Facts) { f.Operation = kms.Put; retire(f, "this") }, kms.OK, ""},
		{"its group is moved to what it booted", func(f *policy.Facts) {
			f.PCRs[11], f.Rolled = policy.Digest{0x22}, []string{"next"}
		}, kms.OK, ""},
		{"its group is moved, and it booted what it is bound to", func(f *policy.Facts) {
			f.Rolled, f.Settings.Releases = []string{"next"}, []string{"this"}
		}, kms.OK, ""},
		{"its group is moved, and it booted what was pinned", func(f *policy.Facts) { f.Rolled = []string{"next"} }, kms.OK, ""},
		{"its group is moved to another release", func(f *policy.Facts) {
			f.PCRs[11], f.Rolled = policy.Digest{0x23}, []string{"next"}
		}, kms.PCRMismatch, "boot-state"},
		{"its group is moved to what was retired since", func(f *policy.Facts) {
			f.PCRs[11], f.Rolled = policy.Digest{0x22}, []string{"next"}
			retire(f, "next")
		}, kms.PCRMismatch, "boot-state"},

		{"announces, which nobody allowed", func(f *policy.Facts) { f.Operation = kms.Announce }, kms.Refused, "announce"},
		{"announces", func(f *policy.Facts) { f.Operation, f.Settings.Announce = kms.Announce, policy.AnnounceAllow }, kms.OK, ""},
		{"announces, from a boot that was given nothing", func(f *policy.Facts) {
			f.Operation, f.Settings.Announce, f.Clock.Reset = kms.Announce, policy.AnnounceAllow, 4
		}, kms.Refused, "announce"},
		{"announces, from a boot in which it only put", func(f *policy.Facts) {
			f.Operation, f.Settings.Announce, f.InBoot = kms.Announce, policy.AnnounceAllow, 0
		}, kms.Refused, "announce"},
		{"announces, from another firmware policy", func(f *policy.Facts) {
			f.Operation, f.Settings.Announce, f.PCRs[7] = kms.Announce, policy.AnnounceAllow, policy.Digest{1}
		}, kms.PCRMismatch, "boot-state"},
		{"announces, quarantined", func(f *policy.Facts) {
			f.Operation, f.Settings.Announce, f.Quarantined = kms.Announce, policy.AnnounceAllow, true
		}, kms.Quarantined, "quarantine"},
		{"boots what was announced", announcedBoot, kms.OK, ""},
		{"so it does, after its time", func(f *policy.Facts) { announcedBoot(f); f.Announced.Until = now.Add(-1) }, kms.PCRMismatch, "boot-state"},
		{"so it does, in the boot that announced it", func(f *policy.Facts) { announcedBoot(f); f.Clock = f.Announced.Boot }, kms.PCRMismatch, "boot-state"},
		{"so it does, again", func(f *policy.Facts) { announcedBoot(f); f.Announced.Next = &f.Clock }, kms.OK, ""},
		{"so it does, and another boot was between", func(f *policy.Facts) {
			announcedBoot(f)
			f.Announced.Next = &policy.Clock{Reset: 4}
			f.Clock.Reset = 5
		}, kms.PCRMismatch, "boot-state"},
		{"so it does, and nothing measures it", func(f *policy.Facts) { announcedBoot(f); f.PCRs[11] = own }, kms.PCRMismatch, "boot-state"},
		{"so it does, and nothing measured it before", func(f *policy.Facts) {
			announcedBoot(f)
			f.PCRs[11], f.Pins[11] = policy.Digest{}, own
		}, kms.OK, ""},
		{"so it does, but must boot a release", func(f *policy.Facts) { announcedBoot(f); f.Settings.Releases = []string{"this"} }, kms.PCRMismatch, "boot-state"},
		{"so it does, and PCR 15 is used", func(f *policy.Facts) { announcedBoot(f); f.PCRs[15] = policy.Digest{1} }, kms.PCR15Used, "latch"},

		{"within the limit of a boot", func(f *policy.Facts) { f.Settings.PerBoot = ptr(3) }, kms.OK, ""},
		{"over the limit of a boot", func(f *policy.Facts) { f.Settings.PerBoot = ptr(2) }, kms.Refused, "per-boot"},
		{"the next boot", func(f *policy.Facts) { f.Settings.PerBoot, f.Clock.Restart = ptr(2), 1 }, kms.OK, ""},
		{"within the limit of an hour", func(f *policy.Facts) { f.Settings.PerHour = ptr(5) }, kms.OK, ""},
		{"as many stores within an hour as may be", func(f *policy.Facts) { f.Operation, f.Stores = kms.Put, policy.DefaultStores }, kms.TooOften, "stores-per-hour"},
		{"one less", func(f *policy.Facts) { f.Operation, f.Stores = kms.Enroll, policy.DefaultStores-1 }, kms.OK, ""},
		{"any number of stores", func(f *policy.Facts) {
			f.Operation, f.Stores, f.Settings.StoresPerHour = kms.Put, 5000, ptr(0)
		}, kms.OK, ""},
		{"a get after many stores", func(f *policy.Facts) { f.Stores = 5000 }, kms.OK, ""},
		{"over the limit of an hour, though booted again", func(f *policy.Facts) { f.Settings.PerHour, f.Clock.Reset = ptr(4), 9 }, kms.Refused, "per-hour"},
		{"stage does not count", func(f *policy.Facts) { f.Settings.PerHour, f.Operation = ptr(4), kms.Stage }, kms.OK, ""},

		{"role boot gets", func(f *policy.Facts) { f.Settings.Role = policy.RoleBoot }, kms.OK, ""},
		{"role boot puts", func(f *policy.Facts) { f.Settings.Role, f.Operation = policy.RoleBoot, kms.Put }, kms.Refused, "role"},
		{"role boot enrolls", func(f *policy.Facts) { f.Settings.Role, f.Operation = policy.RoleBoot, kms.Enroll }, kms.Refused, "role"},
		{"role install puts", func(f *policy.Facts) { f.Settings.Role, f.Operation, f.Booted = policy.RoleInstall, kms.Put, false }, kms.OK, ""},
		{"role install puts after its first boot", func(f *policy.Facts) { f.Settings.Role, f.Operation = policy.RoleInstall, kms.Put }, kms.Refused, "role"},
	} {
		f := approved()
		row.change(&f)
		v := policy.Judge(f)
		if v.Status != row.status || v.Reason != row.reason {
			t.Errorf("%s: Judge = %s (%s), want %s (%s)", row.name, v.Status.Code(), v.Reason, row.status.Code(), row.reason)
		}
		for _, c := range v.Checks {
			if c.Why == "" {
				t.Errorf("%s: rule %s does not say why", row.name, c.Rule)
			}
		}
	}
}

// announcedBoot is the next boot after it was announced, with other values.
func announcedBoot(f *policy.Facts) {
	f.Announced = &policy.Announced{Boot: f.Clock, Until: now.Add(time.Hour)}
	f.Clock.Reset++
	f.PCRs[7], f.PCRs[11] = policy.Digest{0x70}, policy.Digest{0x71}
}

// retire takes a release back.
func retire(f *policy.Facts, name string) {
	r := f.Releases[name]
	r.Retired = now
	f.Releases[name] = r
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// The node's own settings go over its groups', a later group over an
// earlier one, and all over the defaults.
func TestSettingsOver(t *testing.T) {
	p := policy.Policy{
		Defaults: policy.Settings{PerBoot: ptr(1), PerHour: ptr(1), Role: policy.RoleBoot},
		Groups: []policy.Group{
			{Label: "site", Value: "lab", Settings: policy.Settings{PerBoot: ptr(2), PerHour: ptr(2)}},
			{Label: "site", Value: "office", Settings: policy.Settings{PerBoot: ptr(9)}},
			{Label: "kind", Value: "test", Settings: policy.Settings{PerHour: ptr(3)}},
		},
	}
	got := p.For(policy.LK1, policy.Terms{Labels: map[string]string{"site": "lab", "kind": "test"}, Settings: policy.Settings{Role: policy.RoleAny}})
	if *got.PerBoot != 2 || *got.PerHour != 3 || got.Role != policy.RoleAny {
		t.Errorf("For = %d per boot, %d per hour, %s; want 2, 3, any", *got.PerBoot, *got.PerHour, got.Role)
	}
}

// A verdict is made for every redeem, beside about a millisecond of
// public-key work.
func BenchmarkJudge(b *testing.B) {
	f := approved()
	f.Settings = policy.Settings{Networks: prefixes("198.51.100.0/24", "192.0.2.0/24"), PerBoot: ptr(9), PerHour: ptr(9), Releases: []string{"next", "this"}}
	for b.Loop() {
		if v := policy.Judge(f); v.Status != kms.OK {
			b.Fatal(v.Reason)
		}
	}
}
