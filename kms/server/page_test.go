package server_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/admin"
	"latchkey/kms/page"
)

// A browser keeps cookies and follows redirects, as people's do.
type browser struct {
	t      testing.TB
	l      *remoteLab
	client *http.Client
}

// newPages is the administration over HTTPS with its pages.
func newPages(t testing.TB, change func(*page.Options), options ...option) *remoteLab {
	t.Helper()
	return newRemoteWith(t, func(l *remoteLab, o *admin.RemoteOptions) {
		p := page.Options{API: l.API, Links: l.Service, Clients: o.Clients, Ready: l.Ready, Log: discard}
		if change != nil {
			change(&p)
		}
		o.Page = page.New(p)
	}, options...)
}

func (l *remoteLab) browser(pair *tls.Certificate) *browser {
	l.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	config := &tls.Config{RootCAs: l.ca.pool()}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	return &browser{l.t, l, &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}}
}

// send asks as a browser does whose person clicked on a page of site.
func (b *browser) send(method, path, site string, form url.Values) (int, string, *http.Response) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.l.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Sec-Fetch-Site", site)
	reply, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply.StatusCode, string(text), reply
}

func (b *browser) get(path string) (int, string) {
	b.t.Helper()
	status, text, _ := b.send("GET", path, "none", nil)
	return status, text
}

func (b *browser) post(path string, form url.Values) (int, string) {
	b.t.Helper()
	status, text, _ := b.send("POST", path, "same-origin", form)
	return status, text
}

// in signs in with a token of a scope.
func (b *browser) in(scope admin.Scope) *browser {
	b.t.Helper()
	token := strings.TrimPrefix(b.l.token("person-"+string(scope), scope), "Bearer ")
	if status, text := b.post("/sign-in", url.Values{"token": {token}}); status != 200 || !strings.Contains(text, "may "+string(scope)) {
		b.t.Fatalf("signing in: status %d, %s", status, text)
	}
	return b
}

var hiddenShown = regexp.MustCompile(`name="shown" value="([0-9a-f]+)"`)

// shown is the digest in a machine's form.
func (b *browser) shown(path string) string {
	b.t.Helper()
	status, text := b.get(path)
	m := hiddenShown.FindStringSubmatch(text)
	if status != 200 || m == nil {
		b.t.Fatalf("%s: status %d, and no form: %s", path, status, text)
	}
	return m[1]
}

// A person signs in, looks at a machine that waits, approves it, and it gets
// its key; then stops it.
func TestPageApproves(t *testing.T) {
	l := newPages(t, nil)
	if err := l.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	tpm := newTPM(t)
	if _, err := l.fixture.get(tpm); code(err) != "pending" {
		t.Fatal(err)
	}
	b := l.browser(nil)
	if _, text := b.get("/machines"); !strings.Contains(text, "<h1>Sign in</h1>") {
		t.Errorf("who is not signed in sees %s", text)
	}
	b.in(admin.ScopeApprove)

	at := "/machines/" + tpm.NodeID().String()
	_, list := b.get("/machines")
	_, one := b.get(at)
	for _, word := range strings.Fields(tpm.NodeID().Words()) {
		if !strings.Contains(list, word) || !strings.Contains(one, "<span>"+word+"</span>") {
			t.Errorf("the word %s is not shown", word)
		}
	}
	if !strings.Contains(one, "you stored its passphrase") || !strings.Contains(one, "give it all of these") {
		t.Error("the page does not say what approving gives away")
	}

	// What was looked at is what is approved.
	if status, text := b.post(at+"/approve", url.Values{"shown": {"0123456789abcdef"}, "unmeasured": {"1"}}); status != 409 || !strings.Contains(text, "look at it again") {
		t.Errorf("approving what was not shown: status %d, %s", status, text)
	}
	if status, text := b.post(at+"/approve", url.Values{"unmeasured": {"1"}}); status != 409 || !strings.Contains(text, "did not say what you looked at") {
		t.Errorf("approving without a look: status %d, %s", status, text)
	}
	if _, err := l.fixture.get(tpm); code(err) != "pending" {
		t.Errorf("after refusals: %v", err)
	}
	if status, text := b.post(at+"/approve", url.Values{"shown": {b.shown(at)}, "unmeasured": {"1"}}); status != 200 || !strings.Contains(text, "Approved.") {
		t.Errorf("approving: status %d, %s", status, text)
	}
	l.mustGet(tpm)

	if status, text := b.post(at+"/quarantine", nil); status != 200 || !strings.Contains(text, "Stopped.") {
		t.Errorf("quarantine: status %d, %s", status, text)
	}
	if _, err := l.fixture.get(tpm); code(err) != "quarantined" {
		t.Errorf("a machine that was stopped: %v", err)
	}
	if _, text := b.get(at); !strings.Contains(text, "token person-approve at 127.0.0.1") || !strings.Contains(text, ">quarantine<") {
		t.Error("the machine's history does not say who did it")
	}
}

// Nothing is done for who is not signed in, may too little, was sent by
// another site, or has a session that ended.
func TestPageRefuses(t *testing.T) {
	l := newPages(t, nil)
	node := l.approved()
	stop := "/machines/" + node.NodeID().String() + "/quarantine"
	reader, approver := l.browser(nil).in(admin.ScopeRead), l.browser(nil).in(admin.ScopeApprove)
	if status, _ := l.browser(nil).post(stop, nil); status != 401 {
		t.Errorf("nobody: status %d", status)
	}
	if status, text := reader.post(stop, nil); status != 403 || !strings.Contains(text, "needs scope approve") {
		t.Errorf("a reader: status %d, %s", status, text)
	}
	if _, text := reader.get("/machines/" + node.NodeID().String()); strings.Contains(text, "<button class=\"stop\">Quarantine") {
		t.Error("a reader is shown a button that does nothing")
	}
	for _, site := range []string{"cross-site", "same-site"} {
		if status, _, _ := approver.send("POST", stop, site, url.Values{}); status != 403 {
			t.Errorf("a form of another site (%s): status %d", site, status)
		}
	}
	if status, _ := approver.post("/machines/"+node.NodeID().String()+"/delete", nil); status != 403 {
		t.Errorf("deleting without scope admin: status %d", status)
	}
	for _, path := range []string{"/machines/x", "/machines/" + node.NodeID().String() + "/forget", "/others/x/approve", "/nowhere", "/releases/x/add"} {
		method := "GET"
		if strings.Count(path, "/") > 2 {
			method = "POST"
		}
		if status, text, _ := approver.send(method, path, "same-origin", url.Values{}); status < 400 || status > 409 || strings.Contains(text, "goroutine") {
			t.Errorf("%s: status %d", path, status)
		}
	}
	l.mustGet(node) // none of it stopped the machine

	if err := l.RevokeToken(ctx, "person-approve"); err != nil {
		t.Fatal(err)
	}
	if status, _ := approver.post(stop, nil); status != 401 {
		t.Errorf("after its token was revoked: status %d", status)
	}
}
