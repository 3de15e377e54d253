package server_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/ledger"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

func by(who string) context.Context { return ledger.As(context.Background(), who) }

// needTwo is a KMS where two people must approve, with a node that waits.
func needTwo(t *testing.T, options ...option) (*fixture, *softtpm.TPM) {
	t.Helper()
	f := newKMS(t, options...)
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Approvals: ptr(2)}})
	node := newTPM(t)
	if _, err := f.get(node); code(err) != "pending" {
		t.Fatalf("Get = %v, want pending", err)
	}
	return f, node
}

// approves has somebody approve what the node shows, and tells whether it
// is approved then.
func (f *fixture) approves(who string, node *softtpm.TPM, change func(*lk1.Approval)) bool {
	f.t.Helper()
	n, err := f.Node(node.NodeID().String())
	if err != nil {
		f.t.Fatal(err)
	}
	a := lk1.Approval{Who: node.NodeID().Words(), Seen: n.Seen}
	change(&a)
	out, err := f.ApproveNode(by(who), a)
	if err != nil {
		f.t.Fatal(err)
	}
	if done := out.Node.Describe() == "approved"; done == (out.Node.Needs != "") {
		f.t.Errorf("after %s the node is %s, and needs %q", who, out.Node.Describe(), out.Node.Needs)
	}
	return out.Node.Needs == ""
}

func asItIs(*lk1.Approval) {}

// D22: with approvals: 2, one person alone approves nothing, however often
// he says it, and two must have said the same of the same.
func TestTwoPeople(t *testing.T) {
	f, node := needTwo(t)
	for range 3 {
		if f.approves("alice", node, asItIs) {
			t.Fatal("one person approved it")
		}
	}
	if _, err := f.get(node); code(err) != "pending" {
		t.Errorf("after one of two, Get = %v, want pending", err)
	}
	if f.approves("bob", node, func(a *lk1.Approval) { a.Unmeasured = true }) {
		t.Error("two people who said different things approved it")
	}
	node.PCRs[7] = [32]byte{42}
	if _, err := f.get(node); code(err) != "pending" {
		t.Fatal(err)
	}
	if f.approves("carol", node, asItIs) {
		t.Error("what was said of another boot counts")
	}

	n, err := f.Node(node.NodeID().String())
	if err != nil || len(n.Agreed) != 3 || n.Agreed[0].Who != "alice" {
		t.Errorf("the node's agreements are %+v, %v; want those of three people", n.Agreed, err)
	}
	if !f.approves("alice", node, asItIs) {
		t.Error("two people said the same, and it is not approved")
	}
	if n, err := f.Node(node.NodeID().String()); err != nil || len(n.Agreed) != 0 {
		t.Errorf("after it, agreements are left: %+v, %v", n.Agreed, err)
	}
	if !f.audited("agree", "approve: 1 of 2 people") {
		t.Error("what one person said is not in the audit log")
	}
}

// What lets a node have its keys again needs as many people; stopping it
// needs one.
func TestTwoPeopleForTheRest(t *testing.T) {
	f, node := needTwo(t)
	id := node.NodeID().String()
	f.approves("alice", node, asItIs)
	f.approves("bob", node, asItIs)

	twice := func(name string, do func(context.Context) (lk1.Node, error), undone func(lk1.Node) bool) {
		t.Helper()
		for i, who := range []string{"alice", "alice", "bob"} {
			n, err := do(by(who))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if last := i == 2; undone(n) == last || (n.Needs == "") != last {
				t.Errorf("%s, said %d times: undone %v, needs %q", name, i+1, undone(n), n.Needs)
			}
		}
	}
	if n, err := f.SetQuarantine(by("alice"), id, true); err != nil || !n.Quarantined || n.Needs != "" {
		t.Errorf("stopping it = %+v, %v", n.Needs, err)
	}
	twice("readmit", func(c context.Context) (lk1.Node, error) { return f.SetQuarantine(c, id, false) }, func(n lk1.Node) bool { return n.Quarantined })

	node.PCRs[11] = [32]byte{9}
	if _, err := f.get(node); code(err) != "pcr-mismatch" {
		t.Fatal(err)
	}
	twice("accept", func(c context.Context) (lk1.Node, error) { return f.AcceptNode(c, id, lk1.Acceptance{}) }, func(n lk1.Node) bool { return len(n.Change) > 0 })
	before, err := f.Node(id)
	if err != nil {
		t.Fatal(err)
	}
	twice("renew", func(c context.Context) (lk1.Node, error) { return f.RenewNode(c, id) }, func(n lk1.Node) bool { return n.Approved.Equal(before.Approved) })
}

// Who stops a node, or deletes it, ends what others said of it before, and
// what was left for it.
func TestStopEndsWords(t *testing.T) {
	f, node := needTwo(t)
	id := node.NodeID().String()
	f.approves("alice", node, asItIs)
	f.approves("bob", node, asItIs)
	for name, stop := range map[string]func() error{
		"quarantine": func() error { _, err := f.SetQuarantine(by("dan"), id, true); return err },
		"delete": func() error {
			_, err := f.DeleteNode(by("dan"), id)
			if err == nil {
				_, err = f.UndeleteNode(by("dan"), id)
			}
			return err
		},
	} {
		if _, err := f.SetQuarantine(by("dan"), id, true); err != nil {
			t.Fatal(err)
		}
		if n, err := f.SetQuarantine(by("carol"), id, false); err != nil || n.Needs == "" {
			t.Fatalf("one of two = %q, %v", n.Needs, err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if n, err := f.SetQuarantine(by("mallory"), id, false); err != nil || n.Needs == "" || n.Agreed != nil {
			t.Errorf("after %s a word of before counts: needs %q, %v", name, n.Needs, err)
		}
	}

	waits := f.waits()
	if err := f.push(waits); err != nil {
		t.Fatal(err)
	}
	if got := f.pushedTo(waits); got != recovery {
		t.Fatalf("what was pushed is %q", got)
	}
	if err := f.push(waits); err != nil {
		t.Fatal(err)
	}
	if _, err := f.DeleteNode(by("dan"), waits.NodeID().String()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.UndeleteNode(by("dan"), waits.NodeID().String()); err != nil {
		t.Fatal(err)
	}
	if got := f.pushedTo(waits); got != "pending" {
		t.Error("what was pushed before it was deleted is given to it")
	}
	if !f.audited("push void", "the machine was stopped or deleted") {
		t.Error("that the push is void is not in the audit log")
	}
}

// What cannot be done is refused at the first person, and not kept.
func TestTwoPeopleForNothing(t *testing.T) {
	f, node := needTwo(t)
	if _, err := f.ApproveNode(by("alice"), lk1.Approval{Who: node.NodeID().Words(), Seen: "0123456789abcdef"}); err == nil || !strings.Contains(err.Error(), "has shown something else") {
		t.Errorf("approving what is not shown = %v", err)
	}
	if n, err := f.Node(node.NodeID().String()); err != nil || len(n.Agreed) != 0 {
		t.Errorf("what was refused counts: %+v, %v", n.Agreed, err)
	}
}

// One day later the first person's word counts no more.
func TestAgreementEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, node := needTwo(t, inMemory)
		f.approves("alice", node, asItIs)
		time.Sleep(24 * time.Hour)
		if f.approves("bob", node, asItIs) {
			t.Error("a word of a day ago counts")
		}
		time.Sleep(24*time.Hour - time.Second)
		if !f.approves("alice", node, asItIs) {
			t.Error("a word of less than a day ago does not count")
		}
	})
}

// No setting that is narrower lowers what holds for all, and nobody sets it
// for one node.
func TestApprovalsOnlyRise(t *testing.T) {
	f, node := needTwo(t)
	f.SetPolicy(&policy.Policy{
		Defaults: policy.Settings{Approvals: ptr(2)},
		Groups: []policy.Group{
			{Label: "site", Value: "low", Settings: policy.Settings{Approvals: ptr(1)}},
			{Label: "site", Value: "high", Settings: policy.Settings{Approvals: ptr(3)}},
		},
	})
	label := func(site string, people ...string) {
		t.Helper()
		for i, who := range people {
			n, err := f.SetNode(by(who), node.NodeID().String(), policy.Change{Labels: map[string]string{"site": site}})
			if err != nil {
				t.Fatal(err)
			}
			if last := i == len(people)-1; (n.Needs == "") != last || (n.Labels["site"] == site) != last {
				t.Errorf("label %s by %s: labels %v, needs %q", site, who, n.Labels, n.Needs)
			}
		}
	}
	label("low", "alice", "bob")
	if f.approves("alice", node, asItIs) {
		t.Error("a group needs fewer people than all")
	}
	label("high", "alice", "bob", "carol")
	if f.approves("bob", node, asItIs) {
		t.Error("a group that needs three people takes two")
	}
	for _, who := range []string{"alice", "bob"} { // outside of the group two would do
		if n, err := f.SetNode(by(who), node.NodeID().String(), policy.Change{Labels: map[string]string{"site": ""}}); err != nil || n.Needs == "" {
			t.Errorf("%s took the node out of the group: needs %q, %v", who, n.Needs, err)
		}
	}
	if _, err := f.SetNode(by("alice"), node.NodeID().String(), policy.Change{Settings: policy.Settings{Approvals: ptr(1)}}); err == nil || !strings.Contains(err.Error(), "approvals is for the configuration") {
		t.Errorf("setting it for one node = %v", err)
	}
	if !f.approves("carol", node, asItIs) {
		t.Error("three people said the same, and it is not approved")
	}
}
