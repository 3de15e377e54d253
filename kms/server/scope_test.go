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
