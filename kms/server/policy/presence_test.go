package policy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/policy"
)

func TestPresence(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	limit := policy.Duration(10 * time.Minute)
	for _, row := range []struct {
		name  string
		facts policy.Facts
		want  kms.Status
	}{
		{"it beats", policy.Facts{Heard: ago(time.Hour), Beat: ago(10 * time.Minute)}, kms.OK},
		{"it asked", policy.Facts{Heard: ago(10 * time.Minute)}, kms.OK},
		{"nobody saw it", policy.Facts{Heard: ago(time.Hour), Beat: ago(10*time.Minute + time.Second)}, kms.Pending},
		{"it is here again", policy.Facts{Heard: ago(0), Beat: ago(0), Vanished: ago(time.Hour)}, kms.Pending},
		{"no server saw anybody", policy.Facts{Beat: ago(2 * time.Hour), Outages: []policy.Outage{{From: ago(110 * time.Minute), To: ago(9 * time.Minute)}}}, kms.OK},
		{"it did not come back", policy.Facts{Beat: ago(2 * time.Hour), Outages: []policy.Outage{{From: ago(110 * time.Minute), To: ago(11 * time.Minute)}}}, kms.Pending},
		{"it was gone before", policy.Facts{Beat: ago(2 * time.Hour), Outages: []policy.Outage{{From: ago(109 * time.Minute), To: ago(time.Minute)}}}, kms.Pending},
		{"one outage after the other", policy.Facts{Beat: ago(3 * time.Hour), Outages: []policy.Outage{{From: ago(175 * time.Minute), To: ago(65 * time.Minute)}, {From: ago(time.Hour), To: ago(time.Minute)}}}, kms.OK},
		{"a week of holidays", policy.Facts{Beat: ago(7 * 24 * time.Hour), Outages: []policy.Outage{{From: ago(7 * 24 * time.Hour), To: ago(0)}}}, kms.OK},
		{"more than a week", policy.Facts{Beat: ago(8 * 24 * time.Hour), Outages: []policy.Outage{{From: ago(8 * 24 * time.Hour), To: ago(0)}}}, kms.Pending},
		{"nothing was kept", policy.Facts{Heard: ago(99 * 24 * time.Hour), Outages: []policy.Outage{{To: ago(9 * time.Minute)}}}, kms.OK},
		{"a clock that was set back", policy.Facts{Beat: now.Add(time.Hour)}, kms.OK},
	} {
		f := row.facts
		f.Now, f.Operation, f.State, f.Settings.Presence = now, kms.Get, policy.Approved, &limit
		v := policy.Judge(f)
		if got := v.Failed(policy.RulePresence); got != (row.want != kms.OK) {
			t.Errorf("%s: the rule fails is %t: %+v", row.name, got, v.Checks)
		}
		if f.Vanished.IsZero() && f.Vanishes() != (row.want != kms.OK) {
			t.Errorf("%s: Vanishes = %t", row.name, f.Vanishes())
		}
		f.Operation = kms.PresenceBeat
		if policy.Judge(f).Failed(policy.RulePresence) {
			t.Errorf("%s: it may not beat", row.name)
		}
		f.Settings.Presence = nil
		if f.Operation = kms.Get; policy.Judge(f).Failed(policy.RulePresence) || f.Vanishes() {
			t.Errorf("%s: it fails without a setting", row.name)
		}
	}
}

func TestMoved(t *testing.T) {
	home, away := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")
	at := netip.MustParseAddr
	for _, row := range []struct {
		name  string
		moved policy.Moved
		facts policy.Facts
		want  kms.Status
	}{
		{"at home", policy.MovedRefuse, policy.Facts{Home: home, From: at("192.0.2.9"), BeatFrom: home}, kms.OK},
		{"asks from elsewhere", policy.MovedRefuse, policy.Facts{Home: home, From: at("198.51.100.1")}, kms.Refused},
		{"asks from elsewhere, and waits", policy.MovedApprove, policy.Facts{Home: home, From: at("198.51.100.1")}, kms.Pending},
		{"beats elsewhere", policy.MovedApprove, policy.Facts{Home: home, From: at("192.0.2.9"), BeatFrom: away}, kms.Pending},
		{"may move", policy.MovedAllow, policy.Facts{Home: home, From: at("198.51.100.1"), BeatFrom: away}, kms.OK},
		{"nothing is said", "", policy.Facts{Home: home, From: at("198.51.100.1")}, kms.OK},
		{"no home yet", policy.MovedRefuse, policy.Facts{From: at("198.51.100.1")}, kms.OK},
		{"an address that is not known", policy.MovedRefuse, policy.Facts{Home: home}, kms.OK},
		{"IPv4 in IPv6", policy.MovedRefuse, policy.Facts{Home: home, From: at("::ffff:192.0.2.1")}, kms.OK},
		{"the same /64", policy.MovedRefuse, policy.Facts{Home: netip.MustParsePrefix("2001:db8:0:1::/64"), From: at("2001:db8:0:1:2::3")}, kms.OK},
		{"another /64", policy.MovedRefuse, policy.Facts{Home: netip.MustParsePrefix("2001:db8:0:1::/64"), From: at("2001:db8:0:2::3")}, kms.Refused},
	} {
		f := row.facts
		f.Operation, f.State, f.Settings.Moved = kms.Get, policy.Approved, row.moved
		v := policy.Judge(f)
		if v.Failed(policy.RuleMoved) != (row.want != kms.OK) || row.want != kms.OK && v.Status != row.want {
			t.Errorf("%s: %s: %+v", row.name, v.Status.Code(), v.Checks)
		}
		if f.Operation = kms.Announce; policy.Judge(f).Failed(policy.RuleMoved) {
			t.Errorf("%s: what gives no secret out fails", row.name)
		}
	}
}

func TestPresenceSettings(t *testing.T) {
	for want, s := range map[string]policy.Settings{
		"presence 4m0s: must be 0": {Presence: ptr(policy.Duration(4 * time.Minute))},
		"presence -1s: must be 0":  {Presence: ptr(policy.Duration(-time.Second))},
		`moved "perhaps": must be`: {Moved: "perhaps"},
	} {
		if err := (&policy.Policy{}).Check(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v, want %q", err, want)
		}
	}
	for _, d := range []time.Duration{0, policy.MinPresence, 10 * time.Minute} {
		if err := (&policy.Policy{}).Check(policy.Settings{Presence: ptr(policy.Duration(d)), Moved: policy.MovedRefuse}); err != nil {
			t.Errorf("Check of %s = %v", d, err)
		}
	}
}
