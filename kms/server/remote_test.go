package server_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/server/lk1"

	"latchkey/kms"
	"latchkey/kms/store"
)

// Every route is refused to who is not known, and to who has too little
// scope; the document says both.
func TestRemoteScopes(t *testing.T) {
	l := newRemote(t)
	d := readDocument(t, l.fixture)
	tokens := map[string]string{}
	for _, scope := range []admin.Scope{admin.ScopeRead, admin.ScopeApprove, admin.ScopeAdmin} {
		tokens[string(scope)] = l.token(string(scope), scope)
	}

	order := []string{"read", "approve", "admin"}
	for path, methods := range d.paths {
		for method, op := range methods {
			method = strings.ToUpper(method)
			if got := l.documented(d, method, path, ""); got != http.StatusUnauthorized {
				t.Errorf("%s %s of nobody: status %d, want 401", method, path, got)
			}
			for i, scope := range order {
				if path == "/v1/nodes/watch" || path == "/v1/backup" {
					continue // TestWatchOfNodes; the others say enough
				}
				got := l.documented(d, method, path, tokens[scope])
				if may := i >= slices.Index(order, op.Scope); may == (got == http.StatusForbidden) || got == http.StatusUnauthorized {
					t.Errorf("%s %s with scope %s: status %d, and it needs %s", method, path, scope, got, op.Scope)
				}
			}
		}
	}
}

func TestRemoteWho(t *testing.T) {
	l := newRemote(t)
	node := l.approved()
	token := l.token("robot", admin.ScopeApprove)
	alice, mallory := l.ca.client("alice"), l.ca.client("mallory")
	foreign := newAuthority(t).client("alice")

	for _, row := range []struct {
		name, token string
		pair        *tls.Certificate
		want        int
	}{
		{"token", token, nil, 200},
		{"another token", token[:len(token)-1] + "_", nil, 401},
		{"no bearer", strings.TrimPrefix(token, "Bearer "), nil, 401},
		{"empty token", "Bearer ", nil, 401},
		{"certificate", "", &alice, 200},
		{"certificate of who is not listed", "", &mallory, 401},
		{"wrong token beside a good certificate", "Bearer x", &alice, 401},
	} {
		if got := l.status("POST", "/v1/node/quarantine?who="+node.NodeID().String(), row.token, row.pair); got != row.want {
			t.Errorf("%s: status %d, want %d", row.name, got, row.want)
		}
	}

	if _, err := l.do("GET", "/v1/nodes", "", &foreign); err == nil {
		t.Error("a certificate of another authority got through the handshake")
	}
	if got := l.status("GET", "/v1/nodes", token, nil); got != 200 {
		t.Errorf("reading: status %d", got)
	}

	var used, did []string
	for _, e := range l.log() {
		switch e.Event {
		case "admin":
			used = append(used, e.From+" "+e.Detail)
		case "quarantine":
			did = append(did, e.From)
		}
	}

	if want := []string{"token robot at 127.0.0.1", `client "alice" at 127.0.0.1`}; !slices.Equal(did, want) {
		t.Errorf("the log says that %q did it, want %q", did, want)
	}
	if len(used) != 2 { // looking is in the server's log only
		t.Errorf("the log has the uses %q", used)
	}

	if err := l.RevokeToken(ctx, "robot"); err != nil {
		t.Fatal(err)
	}
	if got := l.status("GET", "/v1/nodes", token, nil); got != 401 {
		t.Errorf("a revoked token: status %d, want 401", got)
	}

	for _, e := range l.log() {
		if strings.Contains(e.Detail+e.From, strings.TrimPrefix(token, "Bearer ")) {
			t.Errorf("the log has the token: %+v", e)
		}
	}
}

// Who may approve may not take one machine's volumes over for another, nor
// leave its boot state open.
func TestApproveScopeTakesNothingOver(t *testing.T) {
	l := newRemote(t)
	l.approved()
	other := newTPM(t)
	l.mustPend(other)

	for i, row := range []struct {
		scope  admin.Scope
		extra  string
		status int
	}{
		{admin.ScopeApprove, `,"move":true`, http.StatusForbidden},
		{admin.ScopeApprove, `,"no_pcrs":true`, http.StatusForbidden},
		{admin.ScopeApprove, `,"volumes":["` + root.String() + `"]`, http.StatusForbidden},
		{admin.ScopeApprove, ``, http.StatusOK},
		{admin.ScopeAdmin, `,"move":true`, http.StatusOK},
	} {
		token := l.token(string(row.scope)+strconv.Itoa(i), row.scope)
		body := `{"who":"` + other.NodeID().Words() + `"` + row.extra + `}`
		if got := l.post("/v1/node/approve", token, body); got != row.status {
			t.Errorf("scope %s with %q: status %d, want %d", row.scope, row.extra, got, row.status)
		}
	}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		now := time.Now()
		for name, n := range map[string]admin.NewToken{
			"no name":         {Scope: admin.ScopeRead, Expires: now.Add(time.Hour)},
			"a blank in it":   {Name: "a b", Scope: admin.ScopeRead, Expires: now.Add(time.Hour)},
			"no scope":        {Name: "a", Expires: now.Add(time.Hour)},
			"over":            {Name: "a", Scope: admin.ScopeRead, Expires: now},
			"almost for ever": {Name: "a", Scope: admin.ScopeRead, Expires: now.AddDate(2, 0, 0)},
			"a day too long":  {Name: "a", Scope: admin.ScopeRead, Expires: now.Add(366 * 24 * time.Hour)},
		} {
			if _, err := f.CreateToken(ctx, n); err == nil {
				t.Errorf("a token with %s was made", name)
			}
		}

		f.token("a", admin.ScopeRead)
		if _, err := f.CreateToken(ctx, admin.NewToken{Name: "a", Scope: admin.ScopeRead, Expires: now.Add(time.Hour)}); err == nil {
			t.Error("two tokens of one name")
		}
		tokens, err := f.Tokens()
		if err != nil || len(tokens) != 1 || tokens[0].Scope != admin.ScopeRead {
			t.Errorf("Tokens = %+v, %v", tokens, err)
		}
	})
}

// A token that has expired is none, though nobody revoked it.
func TestTokenExpires(t *testing.T) {
	l := newRemote(t)
	out, err := l.CreateToken(ctx, admin.NewToken{Name: "short", Scope: admin.ScopeRead, Expires: time.Now().Add(150 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); l.status("GET", "/v1/trust", "Bearer "+out.Secret, nil) != 401; {
		if time.Now().After(end) {
			t.Fatal("a token counts beyond its time")
		}
	}
}

// What cannot be logged is not done.
func TestRemoteUseThatCannotBeLogged(t *testing.T) {
	disk := &full{}
	l := newRemote(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			disk.Store = st
			return disk
		}
	})
	token, d := l.token("robot", admin.ScopeAdmin), readDocument(t, l.fixture)
	disk.on.Store(true)
	if got := l.documented(d, "POST", "/v1/nodes/renew", token); got != http.StatusServiceUnavailable {
		t.Errorf("with a full disk: status %d, want 503", got)
	}
}

// TLS 1.2 and plain HTTP are not spoken.
func TestRemoteNeedsTLS13(t *testing.T) {
	l := newRemote(t)
	if c, err := tls.Dial("tcp", strings.TrimPrefix(l.url, "https://"), &tls.Config{RootCAs: l.ca.pool(), MaxVersion: tls.VersionTLS12}); err == nil {
		c.Close()
		t.Error("TLS 1.2 was spoken")
	}
	if reply, err := http.Get(strings.Replace(l.url, "https", "http", 1) + "/v1/trust"); err == nil && reply.StatusCode == 200 {
		t.Error("plain HTTP was answered")
	}
}

// A watch tells who waits, and who comes to wait, once each; it ends when
// the server does.
func TestWatchOfNodes(t *testing.T) {
	l := newRemote(t)
	first := newTPM(t)
	l.mustPend(first)
	reply, err := l.do("GET", "/v1/nodes/watch", l.token("robot", admin.ScopeRead), nil)
	if err != nil || reply.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("watch: %v, %v", reply, err)
	}
	defer reply.Body.Close()
	lines := bufio.NewReader(reply.Body)
	next := func() (n lk1.Node) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if err := json.Unmarshal([]byte(data), &n); err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	if n := next(); n.ID != first.NodeID() {
		t.Errorf("the watch began with %s, want the node that waits", n.Words)
	}

	l.mustPend(first) // asks again: nothing new
	second := newTPM(t)
	l.mustPend(second)
	if n := next(); n.ID != second.NodeID() || n.LastStatus != kms.Pending.Code() {
		t.Errorf("the watch told %s (%s), want the second node", n.Words, n.LastStatus)
	}

	// One that is approved waits no more, though it has not asked again.
	if _, err := l.ApproveNode(ctx, lk1.Approval{Who: first.NodeID().Words()}); err != nil {
		t.Fatal(err)
	}
	if waiting, err := l.Waiting(); err != nil || len(waiting) != 1 || waiting[0].ID != second.NodeID() {
		t.Errorf("Waiting = %d nodes, %v, want the second one", len(waiting), err)
	}

	l.EndWatches()
	if rest, err := io.ReadAll(lines); err != nil || strings.Contains(string(rest), "data:") {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}
