package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
)

// Over HTTPS a person is a name, not a way to come in; who makes himself more
// tokens is no more people.
func TestPersonIsAName(t *testing.T) {
	l := newRemote(t)
	l.SetPolicy(&policy.Policy{Defaults: policy.Settings{Approvals: ptr(2)}})
	node := newTPM(t)
	if _, err := l.get(node); code(err) != "pending" {
		t.Fatal(err)
	}
	made := func(token, name string) string {
		t.Helper()
		body := fmt.Sprintf(`{"name":%q,"scope":"admin","expires":%q}`, name, time.Now().Add(time.Hour).Format(time.RFC3339))
		var out admin.IssuedToken
		if reply := l.sent("/v1/token/create", token, body, &out); reply != http.StatusOK {
			t.Fatalf("making a token: %d", reply)
		}
		return "Bearer " + out.Secret
	}
	alice := l.token("alice", admin.ScopeAdmin)
	second := made(alice, "bob")
	for name, token := range map[string]string{"alice": alice, "her second token": second, "a third, by the second": made(second, "carol")} {
		var out lk1.Approved
		if reply := l.sent("/v1/node/approve", token, fmt.Sprintf(`{"who":%q}`, node.NodeID()), &out); reply != http.StatusOK || out.Node.Needs == "" {
			t.Errorf("%s: status %d, needs %q; want one of two people", name, reply, out.Node.Needs)
		}
	}
	// The certificate's common name is alice, too.
	reply, err := l.do("POST", "/v1/node/readmit?who="+node.NodeID().String(), "", ptr(l.ca.client("alice")))
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if n, err := l.Node(node.NodeID().String()); err != nil || len(n.Agreed) != 2 || n.Agreed[1].Who != "alice" {
		t.Errorf("agreements are %+v, %v; want alice's, of two verbs", n.Agreed, err)
	}

	// A token that is revoked takes its word with it.
	if err := l.RevokeToken(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := l.RevokeToken(ctx, "carol"); err != nil {
		t.Fatal(err)
	}
	if err := l.RevokeToken(ctx, "bob"); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Node(node.NodeID().String()); err != nil || len(n.Agreed) != 1 || n.Agreed[0].Verb != "readmit" {
		t.Errorf("after her tokens were revoked agreements are %+v, %v; want the certificate's", n.Agreed, err)
	}
	eve := l.token("eve", admin.ScopeApprove)
	var first lk1.Approved
	if reply := l.sent("/v1/node/approve", eve, fmt.Sprintf(`{"who":%q}`, node.NodeID()), &first); reply != http.StatusOK || first.Node.Needs == "" {
		t.Errorf("after the first person's tokens were revoked: status %d, needs %q", reply, first.Node.Needs)
	}

	var out lk1.Approved
	if reply := l.sent("/v1/node/approve", l.token("dora", admin.ScopeApprove), fmt.Sprintf(`{"who":%q}`, node.NodeID()), &out); reply != http.StatusOK || out.Node.Needs != "" {
		t.Errorf("another person: status %d, needs %q", reply, out.Node.Needs)
	}
}

// sent posts a body with a token and takes the answer.
func (l *remoteLab) sent(target, token, body string, to any) int {
	l.t.Helper()
	reply := l.postTo(target, token, body)
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(to); err != nil {
		l.t.Fatal(err)
	}
	return reply.StatusCode
}

// A page says that it is not done yet, and to the next person who said what.
func TestPageForTwoPeople(t *testing.T) {
	l := newPages(t, nil)
	l.SetPolicy(&policy.Policy{Defaults: policy.Settings{Approvals: ptr(2)}})
	node := newTPM(t)
	if _, err := l.fixture.get(node); code(err) != "pending" {
		t.Fatal(err)
	}
	at := "/machines/" + node.NodeID().String()
	first, second := l.browser(nil).in(admin.ScopeApprove), l.browser(nil).in(admin.ScopeAdmin)
	if _, text := first.post(at+"/approve", url.Values{"shown": {first.shown(at)}}); !strings.Contains(text, "Noted. It is done when enough people have said the same.") {
		t.Errorf("after one of two the page says:\n%s", text)
	}
	if _, text := second.get(at); !strings.Contains(text, "<strong>token person-approve at 127.0.0.1</strong> said approve") {
		t.Errorf("the second person is not told who said what:\n%s", text)
	}
	if _, text := second.post(at+"/approve", url.Values{"shown": {second.shown(at)}}); !strings.Contains(text, "Approved.") {
		t.Errorf("after two of two the page says:\n%s", text)
	}
}
