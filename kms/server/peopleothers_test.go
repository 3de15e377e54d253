package server_test

import (
	"net/netip"
	"testing"

	"latchkey/kms/server/policy"
	taloskeeper "latchkey/kms/server/talos/keeper"
)

// Two people must want the same of machines of Kairos and Talos, too. Stopping
// one takes one person, and ends what was said before.
func TestTwoPeopleOfOthers(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{}, speaksKairos)
	l.SetPolicy(&policy.Policy{Defaults: policy.Settings{Approvals: ptr(2)}})
	soft := newSoft(t)
	n := l.kairosNode(soft)
	refused(t, n, "") // it waits
	uuid := uuidOf(t, box)
	here, there := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")

	for name, do := range map[string]struct {
		as    func(who, command string, other bool) (needs string, err error)
		state func() string
	}{
		"kairos": {func(who, command string, other bool) (string, error) {
			if other {
				soft.PCRs[11] = [32]byte{9}
				refused(t, n, "")
			}
			row, err := l.Kairos.Change(by(who), command, soft.Hash())
			return row.Needs, err
		}, func() string {
			nodes, err := l.Kairos.Nodes()
			if err != nil {
				t.Fatal(err)
			}
			return nodes[0].Describe()
		}},
		"talos": {func(who, command string, other bool) (string, error) {
			from := []netip.Prefix{here}
			if other {
				from[0] = there
			}
			row, err := l.Talos.Change(by(who), command, uuid, from)
			return row.Needs, err
		}, func() string {
			nodes, err := l.Talos.Nodes()
			if err != nil {
				t.Fatal(err)
			}
			if len(nodes) == 0 {
				return "pending"
			}
			return nodes[0].Describe()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			say := func(who, command string, other, waits bool, state string) {
				t.Helper()
				needs, err := do.as(who, command, other)
				if err != nil || (needs != "") != waits || do.state() != state {
					t.Errorf("%s: %s = needs %q, %v, and it is %s; want that others must agree %v, and %s", who, command, needs, err, do.state(), waits, state)
				}
			}
			say("alice", "approve", false, true, "pending")
			say("alice", "approve", false, true, "pending")
			say("bob", "approve", true, true, "pending") // of something else
			say("alice", "approve", true, false, "approved")

			say("alice", "renew", false, true, "approved")
			say("bob", "quarantine", false, false, "quarantined")
			say("bob", "renew", false, true, "quarantined") // what alice said ended
			say("alice", "readmit", false, true, "quarantined")
			say("bob", "readmit", false, false, "approved")
		})
	}

	set := policy.Change{Settings: policy.Settings{PerHour: ptr(3)}}
	if row, err := l.Talos.Set(by("alice"), uuid, set); err != nil || row.Needs == "" || row.Settings.PerHour != nil {
		t.Errorf("one person set %+v, %v", row, err)
	}
	if row, err := l.Talos.Set(by("bob"), uuid, set); err != nil || row.Needs != "" || row.Settings.PerHour == nil {
		t.Errorf("two people set %+v, %v", row, err)
	}
	if row, err := l.Kairos.Set(by("alice"), soft.Hash(), set); err != nil || row.Needs == "" || row.Settings.PerHour != nil {
		t.Errorf("one person set %+v, %v", row, err)
	}
}
