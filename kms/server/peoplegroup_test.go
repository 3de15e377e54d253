package server_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	sidero "github.com/siderolabs/kms-client/api/kms"

	"latchkey/kms/admin"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// groupOfTwo is a KMS whose group site=oslo needs two people, and has the
// network in which a node waits that has no label.
func groupOfTwo(t *testing.T, network string) (*fixture, *softtpm.TPM) {
	t.Helper()
	f := newKMS(t)
	f.SetPolicy(&policy.Policy{Groups: []policy.Group{
		{Label: "site", Value: "cairns"},
		{Label: "site", Value: "oslo", Settings: policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix(network)}, Approvals: ptr(2)}},
	}})
	node := newTPM(t)
	f.mustPend(node)
	return f, node
}

func person(name string, labels ...string) context.Context {
	return admin.As(ctx, admin.Person{Who: "token " + name, Is: name, Scope: admin.ScopeApprove, Reach: labels})
}

func (f *fixture) agrees(c context.Context, node *softtpm.TPM) bool {
	f.t.Helper()
	out, err := f.ApproveNode(c, lk1.Approval{Who: node.NodeID().Words(), Seen: mustSeen(f, node)})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.Node.Needs == ""
}

func (f *fixture) site(node *softtpm.TPM) string {
	f.t.Helper()
	n, err := f.Node(node.NodeID().String())
	if err != nil {
		f.t.Fatal(err)
	}
	return n.Labels["site"]
}

// A link that nobody is known to have is no word where the group needs two
// that the approval puts the machine into: neither the first, nor the last,
// nor two of them.
func TestLinkOfNobodyInAGroup(t *testing.T) {
	f, node := groupOfTwo(t, "127.0.0.0/8")
	ofHook := func(name string) lk1.Holder { return lk1.Holder{Hook: name, Reach: admin.Reach{"site=oslo"}} }
	refused := func(when string, h lk1.Holder) {
		t.Helper()
		if out, err := f.clicks(f.link(node, h), node.NodeID().Words()); err == nil || !strings.Contains(err.Error(), "sign in") || f.isApproved(node) {
			t.Errorf("%s: %+v, %v", when, out, err)
		}
		if n, err := f.Node(node.NodeID().String()); err != nil || len(n.Labels) > 0 {
			t.Errorf("%s: labels %v, %v", when, n.Labels, err)
		}
	}
	refused("the first word", ofHook("one"))
	refused("of another hook", ofHook("two"))
	refused("of a hook for all machines", lk1.Holder{Hook: "three"})
	if f.agrees(person("ann", "site=oslo"), node) {
		t.Fatal("one person approved it")
	}
	refused("the last word", ofHook("one"))
	if out, err := f.clicks(f.link(node, lk1.Holder{Hook: "bob's", Person: "bob", Reach: admin.Reach{"site=oslo"}}), node.NodeID().Words()); err != nil || out.Node.Needs != "" || !f.isApproved(node) {
		t.Errorf("a link of somebody who is known: %+v, %v", out, err)
	}

	// Where one is enough, it is one.
	f, node = groupOfTwo(t, "192.0.2.0/24")
	if _, err := f.clicks(f.link(node, lk1.Holder{Hook: "three"}), node.NodeID().Words()); err != nil || !f.isApproved(node) {
		t.Errorf("outside of the group: %v", err)
	}
}

// A machine that waits without a label needs as many people as the group in
// whose network it is, whoever approves; it gets the label of who is bounded,
// whether theirs is the first word or the last.
func TestPeopleOfTheGroupOfANetwork(t *testing.T) {
	for name, row := range map[string]struct {
		network       string
		first, second context.Context
		alone         bool
		want          string // label
	}{
		"nobody is bounded":         {"127.0.0.0/8", person("ann"), person("bob"), false, ""},
		"the first one is":          {"127.0.0.0/8", person("ann", "site=oslo"), person("bob"), false, "oslo"},
		"the last one is":           {"127.0.0.0/8", person("ann"), person("bob", "site=oslo"), false, "oslo"},
		"both are":                  {"127.0.0.0/8", person("ann", "site=oslo"), person("bob", "site=oslo"), false, "oslo"},
		"it waits in another place": {"192.0.2.0/24", person("ann"), nil, true, ""},
	} {
		f, node := groupOfTwo(t, row.network)
		if alone := f.agrees(row.first, node); alone != row.alone || f.isApproved(node) != alone {
			t.Errorf("%s: one person approved it: %v", name, alone)
		}
		if row.second != nil && (!f.agrees(row.second, node) || !f.isApproved(node)) {
			t.Errorf("%s: two people did not approve it", name)
		}
		if got := f.site(node); got != row.want {
			t.Errorf("%s: it has the label site=%s, want %q", name, got, row.want)
		}
	}
}

// A label that makes fewer people enough needs as many as the network before.
func TestPeopleOfTheGroupBeforeALabel(t *testing.T) {
	f, node := groupOfTwo(t, "127.0.0.0/8")
	change := policy.Change{Labels: map[string]string{"site": "cairns"}}
	for i, who := range []string{"ann", "ann", "bob"} {
		if n, err := f.SetNode(person(who), node.NodeID().String(), change); err != nil || (n.Needs == "") != (i == 2) {
			t.Errorf("%s gives it to another place: needs %q, %v", who, n.Needs, err)
		}
	}
	if !f.agrees(person("ann"), node) {
		t.Error("with the label of another place it needs two people")
	}
}

// So do machines of Kairos and Talos.
func TestPeopleOfTheGroupOfOthers(t *testing.T) {
	l := newReach(t)
	l.SetPolicy(&policy.Policy{Groups: []policy.Group{
		{Label: "site", Value: "oslo", Settings: policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Approvals: ptr(3)}},
	}})
	soft, box := newSoft(t), "6f2b9d0c-0000-4000-8000-0000000000d1"
	refused(t, l.kairosNode(soft), "")
	_, err := l.talos.machine().Seal(ctx, &sidero.Request{NodeUuid: box, Data: diskKey})
	l.talos.wantRefusal("unknown", err)
	for protocol, approve := range map[string]func(context.Context) (needs string, labels map[string]string, err error){
		"Kairos": func(c context.Context) (string, map[string]string, error) {
			n, err := l.Kairos.Change(c, "approve", soft.Hash())
			return n.Needs, n.Labels, err
		},
		"Talos": func(c context.Context) (string, map[string]string, error) {
			n, err := l.Talos.Change(c, "approve", uuidOf(t, box), nil)
			return n.Needs, n.Labels, err
		},
	} {
		for i, c := range []context.Context{person("eve"), person("ann", "site=oslo"), person("bob")} {
			needs, labels, err := approve(c)
			if last := i == 2; err != nil || (needs == "") != last || last && labels["site"] != "oslo" {
				t.Errorf("%s, word %d: needs %q, labels %v, %v", protocol, i+1, needs, labels, err)
			}
		}
	}
}
