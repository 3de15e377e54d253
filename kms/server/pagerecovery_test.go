package server_test

import (
	"net/url"
	"strings"
	"testing"

	"latchkey/kms/admin"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
)

// The page shows how it stands with recovery keys, and hands one out, once, to
// who may and says why.
func TestPageRecovery(t *testing.T) {
	l := newPages(t, nil)
	node := l.approved()
	reader, person := l.browser(nil).in(admin.ScopeRead), l.browser(nil).in(admin.ScopeAdmin)
	sees := func(b *browser, want ...string) {
		t.Helper()
		status, text := b.get("/recovery")
		for _, w := range want {
			if status != 200 || !strings.Contains(text, w) {
				t.Errorf("the page: status %d, want %q in %s", status, w, text)
			}
		}
	}
	sees(reader, "1 of 1 volumes have no recovery key", `class="state none"`)
	l.leaves(node, "first")
	sees(reader, `class="state unproven"`)
	node.Reset++
	l.looks(node, slot("first", "first"))
	sees(reader, "All 1 volumes have a recovery key that is proven and unused", node.NodeID().Words())
	if _, text := reader.get("/recovery"); strings.Contains(text, "<form method=\"post\" action=\"/recovery") {
		t.Error("who may only look is offered a key")
	}

	at := "/recovery/" + root.String()
	if status, text := reader.post(at, url.Values{"reason": {"curious"}}); status != 403 || strings.Contains(text, "AGE ENCRYPTED") {
		t.Errorf("who may only look: status %d", status)
	}
	if status, text := person.post(at, url.Values{"reason": {""}}); status != 409 || !strings.Contains(text, "say why") {
		t.Errorf("without a reason: status %d, %s", status, text)
	}
	status, text, _ := person.send("POST", at, "cross-site", url.Values{"reason": {"a drill"}})
	if status != 403 || strings.Contains(text, "AGE ENCRYPTED") {
		t.Errorf("from another site: status %d", status)
	}
	l.stands(lk1.RecoveryProven)
	status, text, reply := person.send("POST", at, "same-origin", url.Values{"reason": {"the <board> is dead"}})
	if file := reply.Header.Get("Content-Disposition"); status != 200 || !strings.HasPrefix(text, "-----BEGIN AGE ENCRYPTED FILE-----") || file != `attachment; filename="recovery-`+root.String()+`.age"` {
		t.Errorf("handed out: status %d, file %s, %s", status, file, text)
	}
	sees(reader, "to token person-admin at 127.0.0.1: the &lt;board&gt; is dead", `class="state used"`)
	if status, text := person.post(at, url.Values{"reason": {"again"}}); status != 409 || strings.Contains(text, "AGE ENCRYPTED") {
		t.Errorf("a second time: status %d", status)
	}
	if status, text := person.post(at, url.Values{"reason": {"again"}, "again": {"yes"}}); status != 200 || !strings.Contains(text, "AGE ENCRYPTED") {
		t.Errorf("a second time, meant: status %d, %s", status, text)
	}
}

// One of two people sees who is missing, and no key.
func TestPageRecoveryOfTwoPeople(t *testing.T) {
	l := newPages(t, nil)
	l.leaves(l.approved(), "first")
	l.SetPolicy(&policy.Policy{Defaults: policy.Settings{Approvals: ptr(2)}})
	person := l.browser(nil).in(admin.ScopeAdmin)
	if status, text := person.post("/recovery/"+root.String(), url.Values{"reason": {"a drill"}}); status != 200 || !strings.Contains(text, "Noted. 1 of 2 people said recovery release") {
		t.Errorf("one of two: status %d, %s", status, text)
	}
	l.stands(lk1.RecoveryUnproven)
}
