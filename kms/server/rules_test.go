package server_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/lk1"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// set changes a node's own settings.
func (f *fixture) set(n *softtpm.TPM, s policy.Settings) {
	f.t.Helper()
	if _, err := f.SetNode(ctx, n.NodeID().String(), policy.Change{Settings: s}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) mustRefuse(n *softtpm.TPM, want string, reason policy.Rule) {
	f.t.Helper()
	if _, err := f.get(n); code(err) != want {
		f.t.Errorf("Get = %v, want code %s", err, want)
	}
	row, err := f.Node(n.NodeID().String())
	if err != nil || row.LastReason != reason {
		f.t.Errorf("the operator is told %q (%v), want %q", row.LastReason, err, reason)
	}
}

func ptr[T any](v T) *T { return &v }

// A node that was silent for longer than its limit needs approval again,
// stays so though it asks on, and keeps its pins when it is renewed.
func TestSilentNodeNeedsApprovalAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		f.set(node, policy.Settings{Silence: ptr(policy.Duration(30 * 24 * time.Hour))})
		f.mustGet(node)
		time.Sleep(30 * 24 * time.Hour)
		f.mustGet(node)
		time.Sleep(30*24*time.Hour + time.Second)
		f.mustRefuse(node, "pending", policy.RuleSilence)
		f.mustRefuse(node, "pending", policy.RuleSilence)
		lapses := slices.DeleteFunc(f.log(), func(e ledger.Event) bool { return e.Event != "lapse" })
		if len(lapses) != 1 || lapses[0].Node != node.NodeID().String() {
			t.Errorf("the log has lapses %+v, want one", lapses)
		}

		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err != nil {
			t.Fatal(err)
		}
		f.mustGet(node)
		node.PCRs[11] = [32]byte{9}
		f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	})
}

// Silence is noticed even when another rule answers first.
func TestSilenceIsNoticedBehindAnotherRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		f.set(node, policy.Settings{Silence: ptr(policy.Duration(time.Hour))})
		time.Sleep(2 * time.Hour)
		if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
			t.Fatal(err)
		}
		f.mustRefuse(node, "quarantined", policy.RuleQuarantine)
		if _, err := f.SetQuarantine(ctx, node.NodeID().String(), false); err != nil {
			t.Fatal(err)
		}
		f.mustRefuse(node, "pending", policy.RuleSilence)
	})
}

// A lapsed node's offers change nothing of what is there.
func TestLapsedNodeProposesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		f.set(node, policy.Settings{Silence: ptr(policy.Duration(time.Hour))})
		time.Sleep(2 * time.Hour)
		if _, err := f.client().Deposit(ctx, f.url, node, kms.Put, wants(data), []kms.Offer{{UUID: data, Kind: kms.Bound, Secret: secret.Own([]byte("x"))}}); code(err) != "pending" {
			t.Fatalf("put = %v, want code pending", err)
		}
		if rows, err := f.VolumesOf(data); err == nil {
			t.Errorf("the offer left %+v", rows)
		}
	})
}

func TestReleasesPerBootAndHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		f.set(node, policy.Settings{PerBoot: ptr(2), PerHour: ptr(5)})
		f.mustGet(node)
		f.mustGet(node)
		f.mustRefuse(node, "refused", policy.RulePerBoot)
		node.Restart++
		f.mustGet(node)
		f.mustGet(node)
		node.Reset++
		f.mustGet(node)
		f.mustRefuse(node, "refused", policy.RulePerHour)
		time.Sleep(time.Hour)
		f.mustGet(node)

		// A grant without a secret in it is none.
		g, err := f.get(node, data)
		if code(err) == "" {
			t.Errorf("Get over the limit of this boot = %+v", g)
		}
	})
}

func TestWindowsOfOneNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC, a Saturday
		f := newKMS(t, inMemory)
		node := f.approved()
		w, err := policy.ParseWindow("sat 06:00-07:00 UTC")
		if err != nil {
			t.Fatal(err)
		}

		time.Sleep(2 * time.Hour)
		f.set(node, policy.Settings{Windows: []policy.Window{w}, Outside: policy.OutsideApprove})
		f.mustRefuse(node, "pending", policy.RuleWindow)
		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err != nil {
			t.Fatal(err)
		}

		f.mustGet(node)
		time.Sleep(time.Hour)
		f.mustRefuse(node, "pending", policy.RuleWindow)
		time.Sleep(3 * time.Hour)
		f.mustGet(node)
		time.Sleep(time.Hour)
		f.set(node, policy.Settings{Outside: policy.OutsideRefuse})
		f.mustRefuse(node, "refused", policy.RuleWindow)
	})
}

// Role install ends with the first secret that is given out.
func TestRoleInstall(t *testing.T) {
	f := newKMS(t)
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Role: policy.RoleInstall}})
	node := f.approved()
	if got := f.deposit(node, kms.Put, data, blob("sealed")); got != kms.OK {
		t.Fatalf("put while installing = %s", got.Code())
	}

	f.mustGet(node)
	third := kms.UUID{3}
	offer := []kms.Offer{{UUID: third, Kind: kms.Bound, Secret: secret.Own([]byte("later"))}}
	if _, err := f.client().Deposit(ctx, f.url, node, kms.Put, wants(third), offer); code(err) != "refused" {
		t.Errorf("put after the first boot = %v, want code refused", err)
	}

	f.set(node, policy.Settings{Role: policy.RoleInstall})
	if _, err := f.client().Deposit(ctx, f.url, node, kms.Put, wants(third), offer); err != nil {
		t.Errorf("put after the operator allowed it again = %v", err)
	}
}

// A stranger from elsewhere makes no row.
func TestNetworksHoldForStrangers(t *testing.T) {
	f := newKMS(t)
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
	if _, err := f.get(newTPM(t)); code(err) != "refused" {
		t.Errorf("Get = %v, want code refused", err)
	}
	if f.count() != 0 {
		t.Error("a stranger from another network left a row")
	}
}

// Tofu trusts whoever comes first, but what the operator keeps for a
// machine is not the first one's.
func TestTofu(t *testing.T) {
	f := newKMS(t, func(f *fixture) { f.enroll = fleet.Tofu })
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}

	node := newTPM(t)
	g, err := f.get(node, root, data)
	if err != nil || g.Volumes[0].Status != kms.NotBound || g.Volumes[1].Status != kms.NoSecret {
		t.Fatalf("first Get = %+v, %v; want not-bound for the operator's volume and no-secret for its own", g, err)
	}

	bound := slices.DeleteFunc(f.log(), func(e ledger.Event) bool { return e.Event != "approve" })
	if volumes, err := f.Volumes(); err != nil || len(volumes) != 2 || len(bound) != 1 || !slices.Equal(bound[0].Volumes, []kms.UUID{data}) {
		t.Errorf("trusting it bound %+v, and there are the volumes %+v (%v)", bound, volumes, err)
	}
	node.PCRs[15], node.PCRs[11] = [32]byte{1}, [32]byte{5} // running, as volume enroll is
	if got := f.deposit(node, kms.Put, data, blob("sealed")); got != kms.OK {
		t.Errorf("put = %s", got.Code())
	}

	other := newTPM(t)
	if g, err := f.get(other, data); err != nil || g.Volumes[0].Status != kms.NotBound {
		t.Errorf("another node's Get of the volume = %+v, %v", g, err)
	}
	node.PCRs[15], node.PCRs[11], node.PCRs[7] = [32]byte{}, [32]byte{11}, [32]byte{1}
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if _, err := f.DeleteNode(ctx, node.NodeID().String()); err != nil {
		t.Fatal(err)
	}

	f.mustRefuse(node, "refused", policy.RuleState)
}

// What is explained is what is decided, and nothing is changed by it.
func TestExplain(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.mustGet(node)
	before := len(f.log())
	e, err := f.Explain(ctx, lk1.Question{Who: node.NodeID().Words()})
	if err != nil || e.Status != "ok" || len(e.Volumes) != 1 || e.Volumes[0].Status != "ok" {
		t.Fatalf("Explain = %+v, %v, want ok", e, err)
	}

	node.PCRs[12] = [32]byte{1}
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if e, err = f.Explain(ctx, lk1.Question{Who: node.NodeID().Words()}); err != nil || e.Status != "pcr-mismatch" || e.Reason != policy.RuleBootState {
		t.Errorf("Explain = %+v, %v, want pcr-mismatch", e, err)
	}
	failed := slices.IndexFunc(e.Rules, func(c policy.Check) bool { return !c.Passes })
	if failed < 0 || e.Rules[failed].Why != "PCRs 12 are not the approved ones: node accept takes them" {
		t.Errorf("rules = %+v", e.Rules)
	}

	if n := len(f.log()) - before; n != 1 {
		t.Errorf("%d events since, want the one refusal", n)
	}
	if _, err := f.Explain(ctx, lk1.Question{Who: newTPM(t).NodeID().String()}); err == nil {
		t.Error("a node that nobody knows was explained")
	}
}

// Nested keys are as strict as those above them.
func TestNodeSetIsStrict(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	path := "/v1/node/set?who=" + node.NodeID().String()
	for _, body := range []string{
		`{"settings":{"Role":"boot"}}`, `{"settings":{"rolle":"boot"}}`, `{"settings":{"role":"king"}}`, `{"settings":{"per_boot":-1}}`,
		`{"settings":{"windows":["mon"]}}`, `{"settings":{"networks":["192.0.2.1/24"]}}`, `{"labels":{"a b":"c"}}`, `{"clear":["everything"]}`,
		`{"settings":{"releases":["none","x"]}}`, `{"settings":{"silence":"-1h"}}`, `{"settings":{"outside":"maybe"}}`,
	} {
		if status, answer := post(f.AdminHandler(), path, []byte(body)); status != 400 {
			t.Errorf("%s: status %d, %s, want 400", body, status, answer)
		}
	}

	body := `{"settings":{"role":"boot","per_boot":0,"windows":["daily 00:00-24:00 UTC"],"networks":["::/0"],"silence":"90d"},"labels":{"site":"lab"}}`
	status, answer := post(f.AdminHandler(), path, []byte(body))
	var n lk1.Node
	if err := json.Unmarshal(answer, &n); status != 200 || err != nil || n.Labels["site"] != "lab" || n.Settings.Windows[0].String() != "daily 00:00-24:00 UTC" {
		t.Errorf("status %d, %s", status, answer)
	}

	if _, err := f.SetNode(ctx, node.NodeID().String(), policy.Change{Clear: policy.SettingNames(), Labels: map[string]string{"site": ""}}); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Node(node.NodeID().String()); err != nil || len(n.Labels) != 0 || n.Settings.Role != "" || n.Settings.PerBoot != nil {
		t.Errorf("after clearing: %+v, %v", n.Settings, err)
	}
}
