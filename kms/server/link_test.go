package server_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/page"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
)

// phone is whom links of these tests are sent to.
var phone = lk1.Holder{Hook: "the test"}

// link makes a link for a node that waits.
func (f *fixture) link(tpm *softtpm.TPM, h lk1.Holder) string {
	f.t.Helper()
	link, err := f.NewLink(ctx, tpm.NodeID().String(), h)
	if err != nil || len(link) != 43 {
		f.t.Fatalf("NewLink = %q, %v", link, err)
	}
	return link
}

// clicks is what somebody says who looked at a link just now.
func (f *fixture) clicks(link, words string) (lk1.Approved, error) {
	f.t.Helper()
	view, err := f.LookByLink(ctx, link)
	if err != nil {
		return lk1.Approved{}, err
	}
	return f.ApproveByLink(ctx, link, lk1.LinkWord{Words: words, Shown: view.Shown, From: "192.0.2.9"})
}

func (f *fixture) isApproved(tpm *softtpm.TPM) bool {
	f.t.Helper()
	n, err := f.Node(tpm.NodeID().String())
	if err != nil {
		f.t.Fatal(err)
	}
	return n.Describe() == "approved"
}

var linkShown = regexp.MustCompile(`name="shown" value="([0-9a-f]{64})"`)

// A person with a link and the words of the console approves, once, without a
// sign-in.
func TestLinkApproves(t *testing.T) {
	l := newPages(t, nil)
	if err := l.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	node := newTPM(t)
	l.mustPend(node)
	id := node.NodeID()
	link := l.link(node, phone)
	b, path := l.browser(nil), page.LinkPath+link

	var shown string
	for range 3 { // programs look at links in messages
		status, text, reply := b.send("GET", path, "none", nil)
		m := linkShown.FindStringSubmatch(text)
		if status != 200 || m == nil || !strings.Contains(text, root.String()) || !strings.Contains(text, "127.0.0.1") || !strings.Contains(text, "you stored its passphrase") {
			t.Fatalf("the link's page: status %d, %s", status, text)
		}
		shown = m[1]
		for _, secret := range []string{id.Words(), id.String(), link, "/machines/"} {
			if strings.Contains(text, secret) {
				t.Errorf("the link's page has %q", secret)
			}
		}
		if h := reply.Header; h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("the link's page has the headers %v", h)
		}
	}

	typed := strings.ToUpper(strings.ReplaceAll(id.Words(), " ", "-")) + " "
	if status, text, _ := b.send("POST", path, "cross-site", url.Values{"words": {typed}, "shown": {shown}}); status != http.StatusForbidden || l.isApproved(node) {
		t.Errorf("another site's form: status %d, %s", status, text)
	}
	if status, text := b.post(path, url.Values{"words": {typed}, "shown": {shown}}); status != 200 || !strings.Contains(text, "<h1>Approved</h1>") {
		t.Fatalf("approving: status %d, %s", status, text)
	}
	l.mustGet(node)

	// From then on it is as one that never was.
	_, never := b.get(page.LinkPath + strings.Repeat("x", 43))
	for name, ask := range map[string]func() (int, string){
		"looking again":   func() (int, string) { return b.get(path) },
		"approving again": func() (int, string) { return b.post(path, url.Values{"words": {typed}, "shown": {shown}}) },
	} {
		if status, text := ask(); status != http.StatusNotFound || text != never {
			t.Errorf("%s: status %d, %s", name, status, text)
		}
	}
	said := false
	for _, e := range l.log() {
		said = said || e.Event == "approve" && e.From == "link of the test at 127.0.0.1"
		if strings.Contains(e.From+e.Detail, link) {
			t.Errorf("the audit log has the link: %+v", e)
		}
	}
	if !said {
		t.Error("the audit log does not say that a link approved it")
	}
}

// A link that was used stays so, though the machine waits again, and shows the
// same, within its minutes.
func TestLinkIsUsedUp(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	f.mustPend(node)
	used, unused := f.link(node, phone), f.link(node, lk1.Holder{Hook: "another"})
	if _, err := f.clicks(used, node.NodeID().Words()); err != nil || !f.isApproved(node) {
		t.Fatal(err)
	}
	for _, change := range []func(context.Context, string) (lk1.Node, error){f.DeleteNode, f.UndeleteNode} {
		if _, err := change(ctx, node.NodeID().String()); err != nil {
			t.Fatal(err)
		}
	}
	f.mustPend(node)
	if _, err := f.clicks(used, node.NodeID().Words()); err == nil || f.isApproved(node) {
		t.Errorf("the link approved twice: %v", err)
	}
	if _, err := f.clicks(unused, node.NodeID().Words()); err != nil || !f.isApproved(node) {
		t.Errorf("another, which was not used: %v", err)
	}
}

// Whatever is wrong, nothing is approved.
func TestLinkRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		before func(*fixture, *softtpm.TPM)
		words  func(node, other *softtpm.TPM) string
		want   error // nil: some refusal
		dead   bool  // and the right words do not help after it
	}{
		"another machine's words": {nil, func(_, other *softtpm.TPM) string { return other.NodeID().Words() }, lk1.ErrWords, false},
		"no words":                {nil, func(_, _ *softtpm.TPM) string { return "" }, lk1.ErrWords, false},
		"five of six": {nil, func(node, _ *softtpm.TPM) string {
			words := strings.Fields(node.NodeID().Words())
			return strings.Join(words[:5], " ")
		}, lk1.ErrWords, false},
		"the id": {nil, func(node, _ *softtpm.TPM) string { return node.NodeID().String() }, lk1.ErrWords, false},
		"it booted something else meanwhile": {func(f *fixture, node *softtpm.TPM) {
			node.PCRs[11] = [32]byte{66}
			f.mustPend(node)
		}, rightWords, lk1.ErrLink, true},
		"it asks for more meanwhile": {func(f *fixture, node *softtpm.TPM) {
			if _, err := f.get(node, root, data); code(err) != "pending" {
				f.t.Fatal(err)
			}
		}, rightWords, lk1.ErrLink, true},
		"it was stopped meanwhile": {func(f *fixture, node *softtpm.TPM) {
			if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
				f.t.Fatal(err)
			}
		}, rightWords, lk1.ErrLink, true},
		"somebody approved it meanwhile": {func(f *fixture, node *softtpm.TPM) {
			if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err != nil {
				f.t.Fatal(err)
			}
		}, rightWords, lk1.ErrLink, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newKMS(t)
			node, other := newTPM(t), newTPM(t)
			f.mustPend(node)
			if _, err := f.get(other, kms.UUID{7}); code(err) != "pending" {
				t.Fatal(err)
			}
			link := f.link(node, phone)
			view, err := f.LookByLink(ctx, link)
			if err != nil {
				t.Fatal(err)
			}
			if row.before != nil {
				row.before(f, node)
			}
			if _, err := f.ApproveByLink(ctx, link, lk1.LinkWord{Words: row.words(node, other), Shown: view.Shown}); err == nil || row.want != nil && !strings.Contains(err.Error(), row.want.Error()) {
				t.Errorf("ApproveByLink = %v, want %v", err, row.want)
			}
			if n, err := f.Node(other.NodeID().String()); err != nil || n.Describe() != "pending" {
				t.Errorf("the other machine is %s, %v", n.Describe(), err)
			}
			_, err = f.ApproveByLink(ctx, link, lk1.LinkWord{Words: node.NodeID().Words(), Shown: view.Shown})
			if (err != nil) != row.dead {
				t.Errorf("the right words after it: %v", err)
			}
		})
	}
}

func rightWords(node, _ *softtpm.TPM) string { return node.NodeID().Words() }

// What approving gives is what was looked at, too.
func TestLinkGivesWhatWasSeen(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	f.mustPend(node)
	link := f.link(node, phone)
	view, err := f.LookByLink(ctx, link)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ApproveByLink(ctx, link, lk1.LinkWord{Words: node.NodeID().Words(), Shown: view.Shown}); err == nil || f.isApproved(node) {
		t.Errorf("a passphrase was put meanwhile, and the link gave it: %v", err)
	}
	if _, err := f.clicks(link, node.NodeID().Words()); err != nil || !f.isApproved(node) {
		t.Errorf("looking again, and approving: %v", err)
	}
}

// The words of another machine, which its own link asks for, are not on the
// page either, though both ask for the same volume.
func TestLinkHidesOthers(t *testing.T) {
	l := newPages(t, nil)
	one, two := newTPM(t), newTPM(t)
	l.mustPend(one)
	l.mustPend(two)
	_, text := l.browser(nil).get(page.LinkPath + l.link(one, phone))
	if !strings.Contains(text, "also asked for by another machine") || strings.Contains(text, two.NodeID().Words()) {
		t.Errorf("the page says %s", text)
	}
}

// Three guesses, also at once, are all there are.
func TestLinkGuesses(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	f.mustPend(node)
	link := f.link(node, phone)
	var guesses sync.WaitGroup
	for range 20 {
		guesses.Go(func() {
			_, _ = f.ApproveByLink(ctx, link, lk1.LinkWord{Words: "one two three four five six"})
		})
	}
	guesses.Wait()
	if _, err := f.clicks(link, node.NodeID().Words()); err == nil || f.isApproved(node) {
		t.Errorf("the right words after 20 guesses: %v", err)
	}
	n := 0
	for _, e := range f.log() {
		if e.Event == "link refused" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("the log has %d guesses, want 3", n)
	}
}

// A link is good for minutes.
func TestLinkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := newTPM(t)
		f.mustPend(node)
		early, late := f.link(node, phone), f.link(node, lk1.Holder{Hook: "another"})
		time.Sleep(9 * time.Minute)
		if _, err := f.LookByLink(ctx, early); err != nil {
			t.Errorf("after nine minutes: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := f.clicks(late, node.NodeID().Words()); err == nil || f.isApproved(node) {
			t.Errorf("after ten minutes: %v", err)
		}
	})
}
