package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"latchkey/internal/secret"
	"latchkey/kms/admin"
	"latchkey/kms/page"
)

// A provider is a certified OpenID provider's library, with people of its
// own: test-user2 with the password verysecure.
type provider struct {
	*storage.Storage
	*httptest.Server
	groups []string // of everybody
	asked  []url.Values
	now    http.Handler
}

// SetUserinfoFromToken implements op.Storage, with groups.
func (p *provider) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	err := p.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
	info.AppendClaims("groups", p.groups)
	return err
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	p := &provider{groups: []string{"everybody", "ops"}}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth" {
			p.asked = append(p.asked, r.URL.Query())
		}
		p.now.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// know registers the pages as a client.
func (p *provider) know(client, key, back string) {
	p.Storage = storage.NewStorageWithClients(storage.NewUserStore(p.URL), map[string]*storage.Client{client: storage.WebClient(client, key, back)})
	p.now = exampleop.SetupServer(p.URL, p, discard, false)
}

var loginID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// signInAt follows the button to the provider, and signs in there; it ends
// where the provider sends the person back to.
func (b *browser) signInAt(p *provider, to string) (back string) {
	b.t.Helper()
	status, text, reply := b.send("GET", "/sign-in/oidc?to="+url.QueryEscape(to), "same-origin", nil)
	m := loginID.FindStringSubmatch(text)
	if status != 200 || m == nil {
		b.t.Fatalf("the provider's form at %s: status %d, %s", reply.Request.URL, status, text)
	}
	b.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), b.l.url) {
			back = r.URL.RequestURI()
			return http.ErrUseLastResponse
		}
		return nil
	}
	reply, err := b.client.PostForm(p.URL+"/login/username", url.Values{"id": {m[1]}, "username": {"test-user2"}, "password": {"verysecure"}})
	if err != nil {
		b.t.Fatal(err)
	}
	reply.Body.Close()
	b.client.CheckRedirect = nil
	if back == "" {
		b.t.Fatalf("the provider did not send the person back: %s", reply.Request.URL)
	}
	return back
}

// oidcPages are pages where people sign in by a provider.
func oidcPages(t *testing.T) (*remoteLab, *provider) {
	p := newProvider(t)
	o := &page.OIDC{
		Issuer: p.URL, Client: "latchkey", Secret: secret.Own([]byte("between us")), HTTP: p.Client(),
		Groups: []page.Group{{Name: "everybody", Grant: admin.Grant{Scope: admin.ScopeRead}}, {Name: "ops", Grant: admin.Grant{Scope: admin.ScopeApprove}}, {Name: "ops-oslo", Grant: admin.Grant{Scope: admin.ScopeApprove, Reach: admin.Reach{"site=oslo"}}}, {Name: "ops-cairns", Grant: admin.Grant{Scope: admin.ScopeApprove, Reach: admin.Reach{"site=cairns", "site=oslo"}}}, {Name: "owners", Grant: admin.Grant{Scope: admin.ScopeAdmin}}},
	}
	l := newPages(t, func(all *page.Options) { all.OIDC = o })
	o.URL = l.url
	p.know("latchkey", "between us", l.url+"/sign-in/oidc/back")
	return l, p
}

// trusts has a browser take the provider's certificate, too.
func (b *browser) trusts(p *provider) *browser {
	pool := b.l.ca.pool()
	cert, err := x509.ParseCertificate(p.TLS.Certificates[0].Certificate[0])
	if err != nil {
		b.t.Fatal(err)
	}
	pool.AddCert(cert)
	b.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	return b
}

// A person signs in by the provider, with the most that one of the groups may.
func TestPageProvider(t *testing.T) {
	l, p := oidcPages(t)
	b := l.browser(nil).trusts(p)
	back := b.signInAt(p, "/health")
	status, text, reply := b.send("GET", back, "cross-site", nil)
	if status != 200 || reply.Header.Get("Refresh") != "0; url=/health" {
		t.Fatalf("back from the provider: status %d, Refresh %q, %s", status, reply.Header.Get("Refresh"), text)
	}
	if _, text := b.get("/people"); !strings.Contains(text, "oidc &#34;id2&#34; (&#34;test-user2@zitadel.ch&#34;)") || !strings.Contains(text, "scope approve") {
		t.Errorf("the person is %s", text)
	}
	if q := p.asked[0]; q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || q.Get("state") == "" || q.Get("nonce") == "" {
		t.Errorf("the provider was asked %v: no PKCE, state or nonce", q)
	}
	var in []string
	for _, e := range l.log() {
		if e.Event == "sign in" {
			in = append(in, e.From)
		}
	}
	if want := []string{`oidc "id2" ("test-user2@zitadel.ch") at 127.0.0.1`}; !slices.Equal(in, want) {
		t.Errorf("the log says that %q signed in, want %q", in, want)
	}

	// The link is of use once, and to nobody else.
	at, err := url.Parse(l.url)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*browser{"again": b, "in another browser": l.browser(nil).trusts(p)} {
		other.client.Jar.SetCookies(at, []*http.Cookie{{Name: "__Host-latchkey", MaxAge: -1, Secure: true, Path: "/"}})
		if status, text, _ := other.send("GET", back, "cross-site", nil); status != 401 || !strings.Contains(text, "begin again") {
			t.Errorf("the link %s: status %d", name, status)
		}
	}
}

// Who is in no group that may administer does not get in; nor who comes with
// another state, or a no of the provider.
func TestPageProviderRefuses(t *testing.T) {
	l, p := oidcPages(t)
	p.groups = []string{"others"}
	b := l.browser(nil).trusts(p)
	if status, text, _ := b.send("GET", b.signInAt(p, "/"), "cross-site", nil); status != 401 || !strings.Contains(text, "in none of the groups") {
		t.Errorf("who is in no group: status %d, %s", status, text)
	}
	p.groups = []string{"owners"}
	back := b.signInAt(p, "/")
	if status, text, _ := b.send("GET", strings.Replace(back, "state=", "state=x", 1), "cross-site", nil); status != 401 || !strings.Contains(text, "begin again") {
		t.Errorf("another state: status %d, %s", status, text)
	}
	b.signInAt(p, "/")
	state := p.asked[len(p.asked)-1].Get("state")
	if status, text, _ := b.send("GET", "/sign-in/oidc/back?error=access_denied&state="+state, "cross-site", nil); status != 401 || !strings.Contains(text, "access_denied") {
		t.Errorf("the provider's no: status %d, %s", status, text)
	}
	p.Close()
	if status, text := l.browser(nil).get("/sign-in"); status != 200 || !strings.Contains(text, "Token") {
		t.Errorf("without the provider: status %d", status)
	}
}

// A person in several groups may do what the highest scope allows, to the
// machines of the groups that have it: those of a lower scope add nothing.
func TestReachOfGroups(t *testing.T) {
	l, p := oidcPages(t)
	for _, row := range []struct {
		groups []string
		want   string
	}{
		{[]string{"ops-oslo"}, "scope approve, machines with site=oslo."},
		{[]string{"everybody", "ops-oslo"}, "scope approve, machines with site=oslo."},
		{[]string{"ops-oslo", "everybody"}, "scope approve, machines with site=oslo."},
		{[]string{"ops-oslo", "ops-cairns"}, "scope approve, machines with site=cairns or site=oslo."},
		{[]string{"ops-oslo", "ops"}, "scope approve, all machines."},
		{[]string{"ops", "ops-oslo"}, "scope approve, all machines."},
		{[]string{"owners", "ops-oslo"}, "scope admin, all machines."},
	} {
		p.groups = row.groups
		b := l.browser(nil).trusts(p)
		b.send("GET", b.signInAt(p, "/people"), "cross-site", nil)
		if status, text := b.get("/people"); status != 200 || !strings.Contains(text, row.want) {
			t.Errorf("who is in %v: status %d, want %q in %s", row.groups, status, row.want, text)
		}
	}
}
