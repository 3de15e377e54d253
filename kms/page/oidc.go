package page

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"latchkey/internal/secret"
	"latchkey/kms/admin"
	"latchkey/kms/front"
)

// An OIDC is a provider that people sign in by (OpenID Connect Core 1.0, the
// authorization code flow with PKCE, RFC 7636).
type OIDC struct {
	Issuer string // URL
	Client string // id that the provider knows the key server by
	Secret secret.Bytes
	URL    string // of these pages, as people reach them
	Claim  string // that names a person's groups; "groups" if empty
	Groups []Group
	HTTP   *http.Client // who asks the provider; nil: the default one

	mu       sync.Mutex
	provider *oidc.Provider
}

// A Group of the provider may do something here.
type Group struct {
	Name string
	admin.Grant
}

// oidcBack is where the provider sends people back to.
const oidcBack = "/sign-in/oidc/back"

// flowCookie holds what begins a sign-in until the provider sends the person
// back. It is not Strict: that is another site's link.
const (
	flowCookie = "__Host-latchkey-flow"
	flowLife   = 10 * time.Minute
)

// name is what the button says; empty: there is no provider.
func (o *OIDC) name() string {
	if o == nil {
		return ""
	}
	u, err := url.Parse(o.Issuer)
	if err != nil {
		return o.Issuer
	}
	return u.Host
}

func (o *OIDC) context(ctx context.Context) context.Context {
	if o.HTTP == nil {
		return ctx
	}
	return oidc.ClientContext(ctx, o.HTTP)
}

// found asks the provider once what it is. One that is away is asked again at
// the next sign-in, and keeps nobody else out.
func (o *OIDC) found(ctx context.Context) (*oidc.Provider, oauth2.Config, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider == nil {
		ctx, cancel := context.WithTimeout(o.context(ctx), 10*time.Second)
		defer cancel()
		p, err := oidc.NewProvider(ctx, o.Issuer)
		if err != nil {
			return nil, oauth2.Config{}, fmt.Errorf("asking the sign-in provider: %w", err)
		}
		o.provider = p
	}
	return o.provider, oauth2.Config{
		ClientID: o.Client, ClientSecret: string(o.Secret.Reveal()), Endpoint: o.provider.Endpoint(),
		RedirectURL: strings.TrimSuffix(o.URL, "/") + oidcBack, Scopes: []string{oidc.ScopeOpenID, "profile", "email", "groups"},
	}, nil
}

// toProvider sends a person to the provider.
func (p *Page) toProvider(w http.ResponseWriter, r *http.Request) {
	_, config, err := p.OIDC.found(r.Context())
	if err != nil {
		p.noProvider(w, r, err)
		return
	}
	state, nonce, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	flow := url.Values{"state": {state}, "nonce": {nonce}, "verifier": {verifier}, "to": {here(r.URL.Query().Get("to"))}}
	http.SetCookie(w, &http.Cookie{Name: flowCookie, Value: flow.Encode(), Path: "/", MaxAge: int(flowLife.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusSeeOther)
}

// fromProvider begins a session of who comes back.
func (p *Page) fromProvider(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: flowCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	s, to, err := p.OIDC.comesBack(r)
	if err != nil {
		p.noProvider(w, r, err)
		return
	}
	cookie, err := p.API.BeginSession(r.Context(), &s, front.Remote(r), p.Session)
	if err != nil {
		p.noProvider(w, r, err)
		return
	}
	keep(w, cookie, s.Expires)

	// A redirect would still be the provider's, for which no Strict cookie is
	// sent: the page goes on by itself.
	w.Header().Set("Refresh", "0; url="+to)
	p.show(w, r, http.StatusOK, "signedin", to)
}

func (p *Page) noProvider(w http.ResponseWriter, r *http.Request, err error) {
	p.Log.Warn("sign-in refused", "from", front.Remote(r), "why", err)
	p.show(w, r, http.StatusUnauthorized, "signin", signInView{To: "/machines", Provider: p.OIDC.name(), Refused: "The sign-in by " + p.OIDC.name() + " did not work: " + err.Error()})
}

var errFlow = errors.New("this sign-in was not begun in this browser, or took too long: begin again")

// comesBack judges what the provider says of a person.
func (o *OIDC) comesBack(r *http.Request) (s admin.Session, to string, err error) {
	c, err := r.Cookie(flowCookie)
	if err != nil {
		return s, "", errFlow
	}
	flow, err := url.ParseQuery(c.Value)
	state := r.URL.Query().Get("state")
	if err != nil || flow.Get("state") == "" || subtle.ConstantTimeCompare([]byte(flow.Get("state")), []byte(state)) != 1 {
		return s, "", errFlow
	}
	if said := r.URL.Query().Get("error"); said != "" {
		return s, "", fmt.Errorf("the provider says %.80q", said)
	}

	provider, config, err := o.found(r.Context())
	if err != nil {
		return s, "", err
	}
	ctx, cancel := context.WithTimeout(o.context(r.Context()), 10*time.Second)
	defer cancel()
	token, err := config.Exchange(ctx, r.URL.Query().Get("code"), oauth2.VerifierOption(flow.Get("verifier")))
	if err != nil {
		return s, "", fmt.Errorf("exchanging the code: %w", err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return s, "", errors.New("the provider gave no ID token")
	}
	id, err := provider.Verifier(&oidc.Config{ClientID: o.Client}).Verify(ctx, raw)
	if err != nil {
		return s, "", fmt.Errorf("the provider's ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(flow.Get("nonce"))) != 1 {
		return s, "", errFlow
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return s, "", fmt.Errorf("the provider's ID token: %w", err)
	}
	if _, said := claims[o.claim()]; !said { // some providers tell only who asks for it
		info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return s, "", fmt.Errorf("asking the provider for the groups: %w", err)
		}
		if info.Subject != id.Subject {
			return s, "", errors.New("the provider tells of somebody else")
		}
		if err := info.Claims(&claims); err != nil {
			return s, "", fmt.Errorf("asking the provider for the groups: %w", err)
		}
	}
	s, err = o.person(id.Subject, claims)
	return s, here(flow.Get("to")), err
}

// claim names the groups.
func (o *OIDC) claim() string { return cmp.Or(o.Claim, "groups") }

// most gathers what somebody may by several groups.
type most struct{ admin.Grant }

// add takes a group's grant in: the one with the higher scope counts. Those of
// the same scope are for the machines of both, which is all if one of them is.
func (m *most) add(g admin.Grant) {
	switch higher, lower := (admin.Person{Scope: g.Scope}).May(m.Scope), (admin.Person{Scope: m.Scope}).May(g.Scope); {
	case m.Scope == "" || higher && !lower:
		m.Grant = g
	case !higher: // what this one reaches, it reaches with less
	case m.Reach.Whole() || g.Reach.Whole():
		m.Reach = nil
	default:
		m.Reach = slices.Compact(slices.Sorted(slices.Values(slices.Concat(m.Reach, g.Reach))))
	}
}

// person is who the provider tells of, with the most that one of the groups
// may.
func (o *OIDC) person(subject string, claims map[string]any) (s admin.Session, err error) {
	if subject == "" {
		return s, errors.New("the provider names nobody: the ID token has no sub")
	}
	s.Who, s.Is = fmt.Sprintf("oidc %.120q", subject), subject
	for _, claim := range []string{"email", "preferred_username", "name"} {
		if name, ok := claims[claim].(string); ok && name != "" {
			s.Who += fmt.Sprintf(" (%.64q)", name)
			break
		}
	}

	var m most
	is, _ := claims[o.claim()].([]any)
	for _, one := range is {
		for _, g := range o.Groups {
			if one == g.Name {
				m.add(g.Grant)
			}
		}
	}
	s.Scope, s.Reach = m.Scope, m.Reach
	if s.Scope == "" {
		return s, fmt.Errorf("%s is in none of the groups that may administer (claim %s)", s.Who, o.claim())
	}
	return s, nil
}
