package server_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/rulebook"
	taloskeeper "latchkey/kms/server/talos/keeper"
)

// Texts of a policy: nothing is given from here, everything is, and two people
// must want what is done.
const (
	shut   = "policy:\n  defaults:\n    networks: [203.0.113.0/24] # nobody is there\n"
	opened = "policy:\n  defaults: {per-boot: 100}\n"
	two    = "policy:\n  groups:\n    - label: site=berlin\n      settings: {approvals: 2}\n"
)

func applies(t *testing.T, s *server.Server, who, text string) rulebook.Applied {
	t.Helper()
	now, err := s.Policy.Show(0)
	if err != nil {
		t.Fatal(err)
	}
	n := rulebook.NewEdition{Text: text, Base: now.Number}
	if now.ToFile {
		n.Base = 0
	}
	done, err := s.Policy.Apply(by(who), n)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// A policy that one server takes holds at the other with its next decision,
// over what the files say; it is taken back by an edition, or to the files.
func TestPolicyOfAllServers(t *testing.T) {
	p := newReplicas(t)
	gets := func(want string) {
		t.Helper()
		if _, err := p.get(); code(err) != want {
			t.Errorf("Get = %v, want code %q", err, want)
		}
	}
	gets("")
	for _, s := range []*server.Server{p.challenges, p.spent} { // their files differ, and count for nothing
		s.SetPolicy(&policy.Policy{Defaults: policy.Settings{PerBoot: ptr(1000)}})
	}
	if done := applies(t, p.challenges, "alice", shut); done.Number != 1 || done.Same {
		t.Errorf("Apply = %+v", done)
	}
	gets("refused")
	if done := applies(t, p.challenges, "alice", shut); done.Number != 1 || !done.Same {
		t.Errorf("Apply of the same = %+v", done)
	}
	applies(t, p.spent, "bob", opened)
	gets("")

	if done, err := p.challenges.Policy.Revert(by("alice"), 1); err != nil || done.Number != 3 {
		t.Fatalf("Revert = %+v, %v", done, err)
	}
	gets("refused")
	p.spent = p.replica()
	gets("refused") // after a restart, too
	if _, err := p.challenges.Policy.Revert(by("alice"), 0); err != nil {
		t.Fatal(err)
	}
	gets("")

	all, err := p.spent.Policy.List()
	if err != nil || len(all) != 4 || all[0].Number != 4 || !all[0].ToFile || all[1].Of != 1 || all[2].Who != "bob" || all[3].Text != "" {
		t.Errorf("List = %+v, %v", all, err)
	}
	if e, err := p.spent.Policy.Show(1); err != nil || e.Text != shut {
		t.Errorf("Show(1) = %+v, %v", e, err)
	}
}

// As many people must want a policy as it, or the one before, demands of any
// machine: one person alone cannot end that two must agree.
func TestPolicyOfTwoPeople(t *testing.T) {
	f := newKMS(t)
	if done := applies(t, f.Server, "alice", two); done.Needs == "" || done.Number != 0 {
		t.Errorf("one person alone applied %+v", done)
	}
	if done := applies(t, f.Server, "alice", two); done.Needs == "" {
		t.Error("one person, twice, applied it")
	}
	if done := applies(t, f.Server, "bob", opened+"    # and two\n"); done.Needs != "" {
		t.Errorf("a policy that needs one was not applied: %+v", done)
	}
	applies(t, f.Server, "alice", two)
	if done := applies(t, f.Server, "bob", two); done.Needs != "" {
		t.Fatalf("two people did not apply it: %+v", done)
	}
	for range 2 {
		if done := applies(t, f.Server, "alice", opened); done.Needs == "" {
			t.Fatal("one person alone ended that two must agree")
		}
		if done, err := f.Policy.Revert(by("alice"), 0); err != nil || done.Needs == "" {
			t.Fatalf("one person alone reverted it: %+v, %v", done, err)
		}
	}
	if done := applies(t, f.Server, "bob", shut); done.Needs == "" {
		t.Error("two people who wanted different things applied one")
	}
	if done := applies(t, f.Server, "bob", opened); done.Needs != "" {
		t.Errorf("two people could not end it: %+v", done)
	}
	said := slices.DeleteFunc(f.log(), func(e ledger.Event) bool { return e.Event != "agree" || e.Node != "" })
	if len(said) < 4 || !strings.HasPrefix(said[0].Detail, "policy apply: 1 of 2 people") {
		t.Errorf("the log says %+v", said)
	}
}

// What is wrong is refused with the key that it is about, and nothing changes.
func TestPolicyThatIsRefused(t *testing.T) {
	f := newKMS(t)
	applies(t, f.Server, "alice", opened)
	for _, row := range []struct {
		name string
		n    rulebook.NewEdition
		want string
	}{
		{"a fault", rulebook.NewEdition{Text: "policy: {defaults: {per-boot: -1}}\n", Base: 1}, "defaults: per-boot -1"},
		{"no such key", rulebook.NewEdition{Text: "policy: {default: {}}\n", Base: 1}, "default"},
		{"another section", rulebook.NewEdition{Text: "enroll: tofu\n", Base: 1}, "enroll"},
		{"a file that did not come", rulebook.NewEdition{Text: "policy:\n  releases:\n    - name: r\n      signed: {public-key: /etc/shadow, signatures: /x}\n", Base: 1}, "/etc/shadow did not come with it"},
		{"too large", rulebook.NewEdition{Text: "policy: {}\n#" + strings.Repeat("x", rulebook.MaxBytes), Base: 1}, "524288 at most"},
		{"another edition meanwhile", rulebook.NewEdition{Text: shut}, "edition 1 holds now"},
	} {
		if _, err := f.Policy.Apply(ctx, row.n); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	if _, err := f.Policy.Revert(ctx, 9); err == nil {
		t.Error("an edition that is not there was brought back")
	}
	if e, err := f.Policy.Show(0); err != nil || e.Number != 1 || e.Text != opened {
		t.Errorf("Show = %+v, %v", e, err)
	}
}

// Machines of Kairos and Talos are judged by it, too.
func TestPolicyOfOthers(t *testing.T) {
	for name, make := range map[string]func(*testing.T) *kindred{"kairos": kairosKindred, "talos": talosKindred} {
		k := make(t)
		other := &rulebook.Editor{Ledger: k.Ledger, Book: rulebook.New(nil), Several: k.Service} // of another server
		if _, err := other.Apply(by("alice"), rulebook.NewEdition{Text: shut}); err != nil {
			t.Fatal(err)
		}
		k.refuses(policy.RuleNetwork, k.gets)
		if _, err := other.Apply(by("alice"), rulebook.NewEdition{Text: opened, Base: 1}); err != nil {
			t.Fatal(err)
		}
		if !k.gets() {
			t.Errorf("%s: it got nothing", name)
		}
	}
	l := newTalos(t, taloskeeper.Options{})
	l.SetPolicy(&policy.Policy{Defaults: policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
	applies(t, l.Server, "alice", opened)
	l.do("approve", box)
	l.wantKey(l.machine(), box, l.seal(l.machine(), box))
}
