package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"latchkey/kms/admin"
	"latchkey/kms/page"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// Where two people must approve, a link is one of them: the one that it is
// sent to, who cannot be the other one as well, by a second link or a sign-in.
func TestLinkIsOnePerson(t *testing.T) {
	setup := func() (*fixture, *softtpm.TPM) { f, node := needTwo(t); return f, node }
	alice := lk1.Holder{Hook: "the test", Person: "alice"}

	f, node := setup()
	if _, err := f.clicks(f.link(node, phone), node.NodeID().Words()); err == nil || !strings.Contains(err.Error(), "sign in") || f.isApproved(node) {
		t.Errorf("a link of nobody: %v", err)
	}
	for range 2 {
		link := f.link(node, alice)
		if out, err := f.clicks(link, node.NodeID().Words()); err != nil || out.Node.Needs == "" || f.isApproved(node) {
			t.Errorf("a link of one person: %+v, %v", out, err)
		}
		if _, err := f.LookByLink(ctx, link); err == nil {
			t.Error("the link is not used up by a word that was noted")
		}
	}
	signedIn := func(who string) context.Context {
		return admin.As(ctx, admin.Person{Who: "token " + who, Is: who, Scope: admin.ScopeApprove})
	}
	if out, err := f.ApproveNode(signedIn("alice"), lk1.Approval{Who: node.NodeID().Words(), Seen: mustSeen(f, node)}); err != nil || out.Node.Needs == "" || f.isApproved(node) {
		t.Errorf("the same person by a sign-in: %+v, %v", out, err)
	}
	if out, err := f.clicks(f.link(node, lk1.Holder{Hook: "another", Person: "bob"}), node.NodeID().Words()); err != nil || out.Node.Needs != "" || !f.isApproved(node) {
		t.Errorf("another person: %+v, %v", out, err)
	}
}

func mustSeen(f *fixture, node *softtpm.TPM) string {
	f.t.Helper()
	n, err := f.Node(node.NodeID().String())
	if err != nil {
		f.t.Fatal(err)
	}
	return n.Seen
}

// Links are for machines that wait, of whom they are sent to, and not for any
// number.
func TestLinksThatAreNot(t *testing.T) {
	f := newKMS(t)
	waits, approved := newTPM(t), f.approved()
	if _, err := f.get(waits, data); code(err) != "pending" {
		t.Fatal(err)
	}
	if _, err := f.SetNode(ctx, waits.NodeID().String(), policy.Change{Labels: map[string]string{"site": "oslo"}}); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		node string
		h    lk1.Holder
	}{
		"approved":       {approved.NodeID().String(), phone},
		"unknown":        {newTPM(t).NodeID().String(), phone},
		"no node at all": {box, phone},
		"another's":      {waits.NodeID().String(), lk1.Holder{Hook: "x", Reach: admin.Reach{"site=cairns"}}},
	} {
		if link, err := f.NewLink(ctx, row.node, row.h); link != "" || err != nil {
			t.Errorf("%s: NewLink = %q, %v", name, link, err)
		}
	}
	link := f.link(waits, lk1.Holder{Hook: "x", Reach: admin.Reach{"site=oslo"}})
	if _, err := f.SetNode(ctx, waits.NodeID().String(), policy.Change{Labels: map[string]string{"site": "cairns"}}); err != nil {
		t.Fatal(err)
	}
	if view, err := f.LookByLink(ctx, link); err == nil {
		t.Errorf("it was given to others meanwhile, and the link shows %+v", view)
	}
	for i := range 99 {
		f.link(waits, lk1.Holder{Hook: "x", Number: i + 1})
	}
	if link, err := f.NewLink(ctx, waits.NodeID().String(), phone); link != "" || err != nil {
		t.Errorf("link 101 = %q, %v", link, err)
	}
}

// Who tries links is slowed down, and who has a good one is not.
func TestLinksAreNotSearched(t *testing.T) {
	l := newPages(t, nil)
	node := newTPM(t)
	l.mustPend(node)
	b, link := l.browser(nil), l.link(node, phone)
	slowed := 0
	for range 70 {
		if status, _ := b.get(page.LinkPath + strings.Repeat("y", 43)); status == http.StatusTooManyRequests {
			slowed++
		}
	}
	if slowed < 9 {
		t.Errorf("%d of 70 links that are none were refused", slowed)
	}
	if status, _ := b.get(page.LinkPath + link); status != 200 {
		t.Errorf("a good one: status %d", status)
	}
}
