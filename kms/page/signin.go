package page

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/admin"
	"latchkey/kms/front"
)

// sessionCookie holds a session. The prefix has browsers take it only over
// HTTPS, for this host, and all of it (RFC 6265bis, section 4.1.3.2).
const sessionCookie = "__Host-latchkey"

// identify tells who sends a request: by a session's cookie, or as the API
// itself does.
func (p *Page) identify(r *http.Request) (admin.Person, error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return p.by(r)
	}
	s, err := p.API.Session(c.Value)
	if err != nil {
		return p.by(r) // an old cookie beside a certificate
	}
	return admin.Person{Who: s.Who + " at " + front.Remote(r), Scope: s.Scope, Is: cmp.Or(s.Is, s.Who), Token: s.Token, Reach: s.Reach}, nil
}

// signInView is the form.
type signInView struct {
	To       string // page to go on to
	Provider string // name of the OIDC provider; empty: there is none
	Refused  string

	Certificate bool // the browser shows one: who it is of is in without more
}

func (p *Page) showSignIn(w http.ResponseWriter, r *http.Request) {
	certificate := r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	if _, err := p.identify(r); err == nil && !r.URL.Query().Has("out") {
		http.Redirect(w, r, here(r.URL.Query().Get("to")), http.StatusSeeOther)
		return
	}
	p.show(w, r, http.StatusOK, "signin", signInView{To: here(r.URL.Query().Get("to")), Provider: p.OIDC.name(), Certificate: certificate})
}

// signIn begins a session by a token that somebody typed.
func (p *Page) signIn(w http.ResponseWriter, r *http.Request) {
	to := here(r.PostFormValue("to"))
	cookie, s, err := p.API.SignIn(r.Context(), secret.Own([]byte(strings.TrimSpace(r.PostFormValue("token")))), front.Remote(r), p.Session)
	if err != nil {
		p.Log.Warn("sign-in refused", "from", front.Remote(r), "why", err)
		p.show(w, r, http.StatusUnauthorized, "signin", signInView{To: to, Provider: p.OIDC.name(), Refused: "That token is not known here, or has expired. On the key server's host, “latchkey-kms admin token create” makes one."})
		return
	}
	keep(w, cookie, s.Expires)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// keep gives a browser its session.
func keep(w http.ResponseWriter, value string, until time.Time) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: value, Path: "/", Expires: until, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// signOut ends a session here, or all of that person's.
func (p *Page) signOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		if s, err := p.API.Session(c.Value); err == nil {
			if err := p.API.SignOut(r.Context(), s, front.Remote(r), r.PostFormValue("everywhere") != ""); err != nil {
				p.show(w, r, http.StatusServiceUnavailable, "problem", problem{"You are still signed in: " + err.Error(), "/people"})
				return
			}
		}
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, "/sign-in?out", http.StatusSeeOther)
}

// here is a page of ours to go on to, whatever a link says.
func here(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") || strings.HasPrefix(to, "/sign-") {
		return "/machines"
	}
	return to
}
