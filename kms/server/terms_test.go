package server_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/kairos/kairostest"
	"latchkey/kms/server/policy"
	taloskeeper "latchkey/kms/server/talos/keeper"
	"latchkey/kms/server/terms"

	sidero "github.com/siderolabs/kms-client/api/kms"
)

// notNow is a window that is not now, nor soon.
func notNow(t *testing.T) []policy.Window {
	t.Helper()
	day := strings.ToLower(time.Now().UTC().AddDate(0, 0, 3).Weekday().String()[:3])
	w, err := policy.ParseWindow(day + " 10:00-11:00 UTC")
	if err != nil {
		t.Fatal(err)
	}
	return []policy.Window{w}
}

// moment is shorter than the time from one exchange to the next.
const moment = policy.Duration(time.Nanosecond)

// A kindred is a machine of Kairos or Talos, as the policy's rules meet it.
type kindred struct {
	*fixture
	set     func(policy.Change) error
	gets    func() bool // whether it is given its key
	puts    func() bool // whether it may store one
	renew   func()
	explain func() (terms.Explanation, error)
	reason  func() policy.Rule
}

func (k *kindred) mustSet(s policy.Settings) {
	k.t.Helper()
	if err := k.set(policy.Change{Settings: s, Clear: []string{"silence", "windows", "networks", "per-hour", "stores-per-hour", "outside", "role"}}); err != nil {
		k.t.Fatal(err)
	}
}

// refuses: it is given nothing, by that rule, and explain says the same.
func (k *kindred) refuses(rule policy.Rule, does func() bool) {
	k.t.Helper()
	if does() {
		k.t.Errorf("rule %s: it was given what it asked for", rule)
	}
	if got := k.reason(); got != rule {
		k.t.Errorf("the operator is told rule %q, want %q", got, rule)
	}
}

func (k *kindred) explains(rule policy.Rule) {
	k.t.Helper()
	if e, err := k.explain(); err != nil || e.Reason != rule {
		k.t.Errorf("explain = %q (%v), want %q", e.Reason, err, rule)
	}
}

func kairosKindred(t *testing.T) *kindred {
	f, tpm, n := setUp(t)
	get := func() bool { r, err := n.Attest(); return err == nil && r.Passphrase != "" }
	return &kindred{
		fixture: f, gets: get,
		set:   func(c policy.Change) error { _, err := f.Kairos.Set(ctx, tpm.Hash(), c); return err },
		renew: func() { f.kairos("renew", tpm) },
		explain: func() (terms.Explanation, error) {
			return f.Kairos.Explain(ctx, tpm.Hash(), terms.Question{At: time.Now()})
		},
		reason: func() policy.Rule {
			nodes, err := f.Kairos.Nodes()
			if err != nil || len(nodes) != 1 {
				t.Fatal(nodes, err)
			}
			return nodes[0].LastReason
		},
	}
}

func uuidOf(t *testing.T, text string) kms.UUID {
	t.Helper()
	uuid, err := kms.ParseUUID(text)
	if err != nil {
		t.Fatal(err)
	}
	return uuid
}

func talosKindred(t *testing.T) *kindred {
	l := newTalos(t, taloskeeper.Options{})
	l.do("approve", box)
	uuid := uuidOf(t, box)
	client := l.machine()
	blob := l.seal(client, box)
	return &kindred{
		fixture: l.fixture,
		gets:    func() bool { _, err := unseal(client, box, blob); return err == nil },
		puts: func() bool {
			_, err := client.Seal(context.Background(), &sidero.Request{NodeUuid: box, Data: diskKey})
			return err == nil
		},
		set:     func(c policy.Change) error { _, err := l.Talos.Set(ctx, uuid, c); return err },
		renew:   func() { l.do("renew", box) },
		explain: func() (terms.Explanation, error) { return l.Talos.Explain(ctx, uuid, terms.Question{At: time.Now()}) },
		reason: func() policy.Rule {
			nodes, err := l.Talos.Nodes()
			if err != nil || len(nodes) != 1 {
				t.Fatal(nodes, err)
			}
			return nodes[0].LastReason
		},
	}
}

// What the operator's rules say holds for machines of Kairos and Talos as it
// does for those that speak lk1; each is lifted again.
//
// compatible: Kairos, Talos, Kubernetes | Sidero's kms-client, Kairos' exchange | policy: networks, windows, silence and limits
func TestTermsOfOthers(t *testing.T) {
	for name, make := range map[string]func(*testing.T) *kindred{"kairos": kairosKindred, "talos": talosKindred} {
		t.Run(name, func(t *testing.T) {
			k := make(t)
			if !k.gets() {
				t.Fatal("an approved machine got nothing")
			}

			k.mustSet(policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
			k.refuses(policy.RuleNetwork, k.gets)
			k.explains(policy.RuleNetwork)

			k.mustSet(policy.Settings{Windows: notNow(t)})
			k.refuses(policy.RuleWindow, k.gets)
			k.explains(policy.RuleWindow)
			k.mustSet(policy.Settings{Windows: notNow(t), Outside: policy.OutsideApprove})
			k.renew()
			if !k.gets() {
				t.Error("renewed outside its window, it got nothing")
			}

			k.mustSet(policy.Settings{PerHour: ptr(2)})
			for range 2 {
				if !k.gets() {
					t.Error("a release within the limit was not given")
				}
			}
			k.refuses(policy.RulePerHour, k.gets)
			k.explains(policy.RulePerHour)

			k.mustSet(policy.Settings{Silence: ptr(moment)})
			k.refuses(policy.RuleSilence, k.gets)
			k.mustSet(policy.Settings{})
			k.refuses(policy.RuleSilence, k.gets) // asking does not end a lapse, nor does another setting
			for want := range []int{1, 0} {       // all that lapsed; then none is left
				if n := k.renewsLapsed(); n != 1-want {
					t.Errorf("%d lapsed approvals were renewed, want %d", n, 1-want)
				}
			}
			if !k.gets() {
				t.Error("renewed after a lapse, it got nothing")
			}
			lapses := slices.DeleteFunc(k.log(), func(e ledger.Event) bool { return e.Event != name+" lapse" })
			if len(lapses) != 1 {
				t.Errorf("the log has lapses %+v, want one", lapses)
			}

			if e, err := k.explain(); err != nil || e.Reason != "" || e.Status != "ok" {
				t.Errorf("explain = %+v (%v), want that it would get its key", e, err)
			}
		})
	}
}

// What a machine stores is limited, too, and a role may forbid it.
func TestTermsOfStores(t *testing.T) {
	k := talosKindred(t)
	k.mustSet(policy.Settings{StoresPerHour: ptr(2)})
	if !k.puts() { // the second: one was sealed before
		t.Error("the second seal within the hour was refused")
	}
	k.refuses(policy.RuleStores, k.puts)
	k.mustSet(policy.Settings{Role: policy.RoleBoot})
	k.refuses(policy.RuleRole, k.puts)
	if !k.gets() {
		t.Error("role boot got nothing")
	}
}

// A machine of Kairos boots a release in place of the PCR that it covers, and
// nothing else where it is bound to one.
func TestKairosReleases(t *testing.T) {
	f, tpm, n := setUp(t)
	tpm.PCRs[7], tpm.PCRs[11] = [32]byte{7}, [32]byte{1}
	must(t, n) // learns both
	next := map[string]policy.Release{"next": {PCRs: map[int]policy.Digest{11: {2}}}}
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Releases: []string{"next"}}, Releases: next})
	refused(t, n, "PCR verification failed")
	tpm.PCRs[11] = [32]byte{2}
	must(t, n)
	tpm.PCRs[7] = [32]byte{8} // which the release does not cover
	refused(t, n, "PCR verification failed: PCR7 changed")
	tpm.PCRs[7] = [32]byte{7}
	next["next"] = policy.Release{PCRs: next["next"].PCRs, Retired: time.Now()}
	refused(t, n, "PCR verification failed")
	if e, err := f.Kairos.Explain(ctx, tpm.Hash(), terms.Question{At: time.Now()}); err != nil || e.Reason != policy.RuleBootState {
		t.Errorf("explain = %+v (%v), want rule boot-state", e, err)
	}
}

// The older exchange shows no boot state: no release lets it through.
func TestKairosReleaseOfLegacy(t *testing.T) {
	f, tpm, n := setUp(t)
	tpm.Attributes = "\x00\x05\x00\x72" // as the older generation makes them
	if err := n.PostPass(generated); err != nil {
		t.Fatal(err)
	}
	if r, err := n.GetPass(); err != nil || r.Passphrase == "" {
		t.Fatalf("GetPass = %+v, %v", r, err)
	}
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Releases: []string{"next"}}, Releases: map[string]policy.Release{"next": {PCRs: map[int]policy.Digest{11: {2}}}}})
	if r, err := n.GetPass(); err != nil || r.Error != "downgrade" {
		t.Errorf("GetPass = %+v, %v, want downgrade", r, err)
	}
}

// A limit counts each partition by itself: one boot asks for all of them.
func TestKairosLimitOfPartitions(t *testing.T) {
	f, tpm, n := setUp(t)
	if err := f.apply(tpm, strings.Replace(document, "    - label: COS_PERSISTENT\n", "    - label: COS_PERSISTENT\n    - label: DATA\n", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Kairos.Set(ctx, tpm.Hash(), policy.Change{Settings: policy.Settings{PerHour: ptr(1)}}); err != nil {
		t.Fatal(err)
	}
	data := *n
	data.Want.Label = "DATA"
	for _, one := range []*kairostest.Node{n, &data} {
		must(t, one)
		refused(t, one, "") // the connection is closed: it may ask again
	}
}

// All machines of a protocol are in a group of it, whose settings are those
// that the protocol has something for.
func TestTermsByProtocol(t *testing.T) {
	k := talosKindred(t)
	p, err := policy.Config{Groups: []policy.GroupConfig{{Label: "protocol=talos", Settings: policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}}}.Policy(nil)
	if err != nil {
		t.Fatal(err)
	}
	k.SetPolicy(p)
	k.refuses(policy.RuleNetwork, k.gets)
	node := k.approved()
	k.mustGet(node)

	for label, s := range map[string]policy.Settings{"protocol=talos": {PerBoot: ptr(1)}, "protocol=kairos": {OwnVolumes: ptr(1)}, "protocol=clevis": {}} {
		if _, err := (policy.Config{Groups: []policy.GroupConfig{{Label: label, Settings: s}}}).Policy(nil); err == nil || !strings.Contains(err.Error(), "groups[0].settings") {
			t.Errorf("%s: %v, want a fault of groups[0].settings", label, err)
		}
	}
	if _, err := (policy.Config{Defaults: policy.Settings{Approvals: ptr(2)}, Groups: []policy.GroupConfig{{Label: "a=b", Settings: policy.Settings{Approvals: ptr(1)}}}}).Policy(nil); err == nil || !strings.Contains(err.Error(), "not for fewer") {
		t.Errorf("a group that asks for fewer people: %v", err)
	}
	for _, c := range []policy.Change{
		{Clear: []string{"per-boot"}},
		{Settings: policy.Settings{Releases: []string{policy.NoRelease}}},
		{Settings: policy.Settings{Approvals: ptr(1)}},
		{Labels: map[string]string{"protocol": "lk1"}},
	} {
		if err := k.set(c); err == nil {
			t.Errorf("%+v was set", c)
		}
	}
	k.SetPolicy(&policy.Policy{Defaults: policy.Settings{PerBoot: ptr(1)}})
	if e, err := k.explain(); err != nil || len(e.Unasked) != 1 || !strings.HasPrefix(e.Unasked[0], "per-boot: not asked") {
		t.Errorf("explain = %+v (%v), want a word on per-boot", e, err)
	}
}
