package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"latchkey/kms/admin"
)

// A watch ends when the token that began it is revoked.
func TestRevokedTokenWatchesNoMore(t *testing.T) {
	l := newRemote(t)
	l.token("other", admin.ScopeRead)
	reply, err := l.do("GET", "/v1/nodes/watch", l.token("watcher", admin.ScopeRead), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	for _, name := range []string{"other", "watcher"} {
		if err := l.RevokeToken(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(io.Discard, reply.Body); err != nil { // it never ends, or it ends well
		t.Errorf("reading the watch: %v", err)
	}
}

// Who may only approve lifts no network restriction of a machine of Talos,
// and approving again keeps it.
func TestApproveScopeKeepsTalosNetworks(t *testing.T) {
	remote := newRemote(t)
	token := remote.token("robot", admin.ScopeApprove)
	l := &talosLab{fixture: remote.fixture}
	mine := netip.MustParsePrefix("192.0.2.0/24")
	l.do("approve", box, mine)
	for query, want := range map[string]int{
		"": 200, "&source=192.0.2.0/24": 200, "&source=0.0.0.0/0": 403, "&source=198.51.100.0/24": 403,
	} {
		if got := remote.post("/v1/talos/approve?uuid="+box+query, token, ""); got != want {
			t.Errorf("approving with %q: status %d, want %d", query, got, want)
		}
		nodes, err := l.Talos.Nodes()
		if err != nil || len(nodes) != 1 || len(nodes[0].Sources) != 1 || nodes[0].Sources[0] != mine {
			t.Fatalf("after %q the machines are %+v, %v, want one with network %v", query, nodes, err, mine)
		}
	}
}

// Who may only approve pushes no passphrase; who may all pushes for the
// volumes that he names.
func TestPushNeedsAdmin(t *testing.T) {
	l := newRemote(t)
	node := newTPM(t)
	if _, err := l.get(node, root, data); code(err) != "pending" {
		t.Fatal(err)
	}
	path := "/v1/node/push?who=" + node.NodeID().String() + "&shown=" + l.seen(node) + "&volumes=" + root.String() + "," + data.String()
	for _, row := range []struct {
		scope  admin.Scope
		status int
		got    string
	}{{admin.ScopeRead, 403, "pending"}, {admin.ScopeApprove, 403, "pending"}, {admin.ScopeAdmin, 200, recovery + ", " + recovery}} {
		if status := l.post(path, l.token("of-"+string(row.scope), row.scope), recovery); status != row.status {
			t.Errorf("scope %s: status %d, want %d", row.scope, status, row.status)
		}
		if got := l.pushedTo(node, root, data); got != row.got {
			t.Errorf("after a push by scope %s the machine gets %q, want %q", row.scope, got, row.got)
		}
	}
	if status := l.post(path+"x", l.token("again", admin.ScopeAdmin), recovery); status != 400 {
		t.Errorf("a UUID that is none: status %d, want 400", status)
	}
}

// A parameter that is said twice is refused, not half heard.
func TestParameterSaidTwice(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	w := httptest.NewRecorder()
	f.AdminHandler().ServeHTTP(w, httptest.NewRequest("POST", "/v1/node/quarantine?who="+node.NodeID().String()+"&who="+newTPM(t).NodeID().String(), nil))
	if w.Code != http.StatusBadRequest {
		t.Errorf("who said twice: status %d, want 400", w.Code)
	}
	f.mustGet(node)
}
