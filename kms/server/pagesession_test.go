package server_test

import (
	"bufio"
	"errors"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/page"
)

// A session ends where it is signed out, and everywhere if that is asked.
func TestPageSignOut(t *testing.T) {
	l := newPages(t, nil)
	token := strings.TrimPrefix(l.token("laptop", admin.ScopeRead), "Bearer ")
	var all []*browser
	for range 3 {
		b := l.browser(nil)
		if status, _ := b.post("/sign-in", url.Values{"token": {token}}); status != 200 {
			t.Fatalf("signing in: status %d", status)
		}
		all = append(all, b)
	}
	signedIn := func(b *browser) bool { _, text := b.get("/people"); return strings.Contains(text, "<h2>You</h2>") }
	stolen, _ := url.Parse(l.url)
	cookie := all[1].client.Jar.Cookies(stolen)

	copied := all[0].client.Jar.Cookies(stolen)
	all[0].post("/sign-out", nil)
	all[0].client.Jar.SetCookies(stolen, copied)
	if signedIn(all[0]) || !signedIn(all[1]) {
		t.Error("signing out ends this session and no other")
	}
	all[1].post("/sign-out", url.Values{"everywhere": {"1"}})
	all[1].client.Jar.SetCookies(stolen, cookie)
	if signedIn(all[1]) || signedIn(all[2]) {
		t.Error("a session lives though its owner signed out everywhere")
	}
	if status, _ := all[2].post("/sign-in", url.Values{"token": {token}}); status != 200 || !signedIn(all[2]) {
		t.Error("nobody can sign in after signing out everywhere")
	}
	if err := l.EndSessions(ctx); err != nil {
		t.Fatal(err)
	}
	if signedIn(all[2]) {
		t.Error("a session lives though everybody was signed out")
	}
}

// A session has an end, and a cookie is what it was made as.
func TestPageSession(t *testing.T) {
	l := newPages(t, func(o *page.Options) { o.Session = time.Minute })
	b := l.browser(nil)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	token := strings.TrimPrefix(l.token("phone", admin.ScopeRead), "Bearer ")
	_, _, reply := b.send("POST", "/sign-in", "same-origin", url.Values{"token": {token}, "to": {"//evil.example.org/"}})
	if at := reply.Header.Get("Location"); at != "/machines" {
		t.Errorf("a link led to %q", at)
	}
	c := reply.Cookies()[0]
	if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") || time.Until(c.Expires) > time.Minute {
		t.Errorf("the cookie is %+v", c)
	}
	if strings.Contains(c.Value, token) {
		t.Error("the cookie has the token")
	}
	if _, err := l.Session(c.Value); err != nil {
		t.Errorf("the session: %v", err)
	}
	for _, other := range []string{"", "AAAA", c.Value[:len(c.Value)-2], c.Value[1:]} {
		if _, err := l.Session(other); err == nil {
			t.Errorf("%.10q… is a session", other)
		}
	}
	old := admin.Session{Who: "oidc x", Scope: admin.ScopeAdmin}
	ended, err := l.BeginSession(ctx, &old, "192.0.2.1", -time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Session(ended); err == nil {
		t.Error("a session that has ended is one")
	}
	long := admin.Session{Who: "oidc x", Scope: admin.ScopeAdmin}
	if _, err := l.BeginSession(ctx, &long, "192.0.2.1", 1000*time.Hour); err != nil || time.Until(long.Expires) > admin.MaxSession {
		t.Errorf("a session ends %s, %v", long.Expires, err)
	}
}

// Every page answers, under headers that keep others out, and shows no
// secret; a client certificate needs no sign-in.
func TestPages(t *testing.T) {
	l := newPages(t, nil)
	node := l.approved()
	l.mustGet(node)
	alice, mallory := l.ca.client("alice"), l.ca.client("mallory")
	b := l.browser(&alice)
	for path, want := range map[string]string{
		"/": "All others", "/machines": node.NodeID().Words(), "/machines?q=" + node.NodeID().Words()[:4]: node.NodeID().Words(), "/machines?q=zzz": "No other machine matches",
		"/machines/waiting": "No machine waits", "/machines/" + node.NodeID().String(): "Every rule", "/others": "None has asked", "/volumes": root.String(), "/releases": "None.",
		"/audit": "volume put", "/audit?event=approve": ">approve<", "/audit?since=2001-01-01&until=2001-01-02": "No event matches", "/people": "alice", "/health": "machines get their keys", "/audit.jsonl": `"event":"approve"`,
	} {
		status, text, reply := b.send("GET", path, "none", nil)
		if status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: status %d, lacks %q", path, status, want)
		}
		if strings.Contains(text, canary) {
			t.Errorf("%s has a secret", path)
		}
		if csp := reply.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if strings.Contains(text, "style=") || strings.Contains(text, "<script>") || strings.Contains(text, "onclick") {
			t.Errorf("%s has something inline", path)
		}
	}
	if status, text := b.get("/audit?since=yesterday"); status != 400 || !strings.Contains(text, "2026-11-22") {
		t.Errorf("a day that is none: status %d", status)
	}
	if _, text := l.browser(&mallory).get("/machines"); !strings.Contains(text, "<h1>Sign in</h1>") {
		t.Error("a certificate of who is not listed shows the machines")
	}
}

// The stream tells of a machine that comes to wait, and ends with the
// session.
func TestPageLive(t *testing.T) {
	l := newPages(t, nil)
	b := l.browser(nil).in(admin.ScopeRead)
	r, err := http.NewRequest("GET", l.url+"/live", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := b.client.Do(r)
	if err != nil || reply.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream: %v, %v", reply, err)
	}
	defer reply.Body.Close()
	tpm := newTPM(t)
	if _, err := l.fixture.get(tpm); code(err) != "pending" {
		t.Fatal(err)
	}
	lines := bufio.NewReader(reply.Body)
	for line := ""; !strings.Contains(line, tpm.NodeID().String()); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the stream ended before it told of the machine: %v", err)
		}
	}
	if err := l.SignOut(ctx, admin.Session{Who: "token person-read"}, "192.0.2.1", true); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after signing out everywhere: %v", err)
	}
}

var hrefs = regexp.MustCompile(`href="(/audit[^"]*)"`)

// The links of the audit log lead on: to older events, and to an export of
// what was searched for. What was done is said after it was done, and not by
// a link.
func TestPageLinks(t *testing.T) {
	l := newPages(t, nil)
	node := l.approved()
	for range 210 {
		if err := l.Update(ctx, func(t *ledger.Txn) error { return t.Note(ledger.Event{Event: "start"}) }); err != nil {
			t.Fatal(err)
		}
	}
	b := l.browser(nil).in(admin.ScopeApprove)
	follow := func(from, with string) string {
		t.Helper()
		_, text := b.get(from)
		for _, m := range hrefs.FindAllStringSubmatch(text, -1) {
			if at := html.UnescapeString(m[1]); strings.Contains(at, with) {
				_, text := b.get(at)
				return text
			}
		}
		t.Fatalf("%s has no link with %s", from, with)
		return ""
	}
	if older := follow("/audit", "before="); !strings.Contains(older, ">approve<") || strings.Contains(older, ">sign in<") {
		t.Error("the link to older events does not lead to them")
	}
	if found := follow("/audit?event=approve", ".jsonl?"); strings.Count(found, "\n") != 1 || !strings.Contains(found, `"event":"approve"`) {
		t.Errorf("the export of a search for one event is %s", found)
	}

	at := "/machines/" + node.NodeID().String()
	if _, text := b.get(at + "?done=quarantine"); strings.Contains(text, "Stopped.") {
		t.Error("a link says that the machine was stopped")
	}
	_, done := b.post(at+"/quarantine", nil)
	if _, again := b.get(at); !strings.Contains(done, "Stopped.") || strings.Contains(again, "Stopped.") {
		t.Error("that it was stopped is said once, after it was done")
	}
	if _, text := b.get("/machines/" + url.PathEscape(node.NodeID().Words())); !strings.Contains(text, node.NodeID().String()) {
		t.Error("the words lead to no machine")
	}
}

// A passphrase is pushed to the boot that was looked at, by an administrator
// only, and shown nowhere.
func TestPagePushes(t *testing.T) {
	l := newPages(t, nil)
	tpm := newTPM(t)
	if _, err := l.fixture.get(tpm); code(err) != "pending" {
		t.Fatal(err)
	}
	at := "/machines/" + tpm.NodeID().String()
	form := url.Values{"passphrase": {canary}, "shown": {"0123456789abcdef"}}
	if status, _ := l.browser(nil).in(admin.ScopeApprove).post(at+"/push", form); status != 403 {
		t.Errorf("by scope approve: status %d", status)
	}
	b := l.browser(nil).in(admin.ScopeAdmin)
	if status, text := b.post(at+"/push", form); status != 409 || strings.Contains(text, canary) {
		t.Errorf("to a boot that nobody looked at: status %d", status)
	}
	form.Set("shown", b.shown(at))
	if status, text := b.post(at+"/push", form); status != 200 || !strings.Contains(text, "Left for its next question") || !strings.Contains(text, ">push<") || strings.Contains(text, canary) {
		t.Errorf("pushing: status %d, %s", status, text)
	}
	g, err := l.fixture.get(tpm)
	if err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != canary {
		t.Errorf("the machine gets %v, %v", g, err)
	}
}
