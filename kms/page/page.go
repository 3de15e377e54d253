// Package page is the administration for people: pages in a browser, made on
// the server. It knows nothing that the API does not tell, and does nothing
// that the API does not do for who is signed in; what is recorded and what is
// refused is the API's.
package page

import (
	"embed"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"latchkey/kms/admin"
)

// Options say whom the pages let in, and for how long.
type Options struct {
	API     *admin.API
	Clients map[string]admin.Grant // client certificates, by common name
	Session time.Duration          // of a sign-in; 0: an hour
	OIDC    *OIDC                  // nil: nobody signs in by a provider
	Ready   func() error           // why nothing can be released
	Links   Links                  // nil: nobody approves by a link
	Log     *slog.Logger
}

//go:embed static
var static embed.FS

// A Page answers browsers.
type Page struct {
	Options
	api http.Handler
	by  admin.Identify // who shows a token or a certificate

	forged throttle // links that are none
}

// New makes the pages' handler. It wants to be behind
// http.CrossOriginProtection, as the administration over HTTPS is.
func New(o Options) http.Handler {
	if o.Session == 0 {
		o.Session = time.Hour
	}
	p := &Page{Options: o, by: o.API.ByHeaders(o.Clients)}
	p.api = o.API.HandlerFor(p.identify)

	mux := http.NewServeMux()
	mux.Handle("GET /static/", cached(http.FileServerFS(static)))
	mux.HandleFunc("GET /sign-in", p.showSignIn)
	mux.HandleFunc("POST /sign-in", p.signIn)
	mux.HandleFunc("POST /sign-out", p.signOut)
	if o.OIDC != nil {
		mux.HandleFunc("GET /sign-in/oidc", p.toProvider)
		mux.HandleFunc("GET "+oidcBack, p.fromProvider)
	}

	if o.Links != nil {
		mux.HandleFunc("GET "+LinkPath+"{link}", p.showLink)
		mux.HandleFunc("POST "+LinkPath+"{link}", p.useLink)
	}

	mux.Handle("GET /{$}", http.RedirectHandler("/machines", http.StatusSeeOther))
	for pattern, show := range map[string]func(*visit) error{
		"GET /machines":                  (*visit).machines,
		"GET /machines/waiting":          (*visit).waiting,
		"GET /machines/{id}":             (*visit).machine,
		"POST /machines/{id}/{verb}":     (*visit).change,
		"GET /others":                    (*visit).others,
		"POST /others/{protocol}/{verb}": (*visit).changeOther,
		"GET /volumes":                   (*visit).volumes,
		"GET /recovery":                  (*visit).recovery,
		"POST /recovery/{uuid}":          (*visit).handOut,
		"GET /releases":                  (*visit).releases,
		"POST /releases/{name}/{verb}":   (*visit).changeRelease,
		"GET /audit":                     (*visit).audit,
		"GET /audit.jsonl":               (*visit).export,
		"GET /people":                    (*visit).people,
		"GET /health":                    (*visit).health,
		"GET /live":                      (*visit).live,
	} {
		mux.Handle(pattern, p.page(show))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.show(w, r, http.StatusNotFound, "problem", problem{Text: "There is no such page.", Back: "/machines"})
	})
	return headers(mux)
}

// headers go with every answer: nothing is taken from elsewhere, framed,
// guessed or kept.
func headers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		h.ServeHTTP(w, r)
	})
}

// maxForm bounds what a browser sends, in bytes.
const maxForm = 16 << 10

func cached(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r) // a folder
			return
		}
		w.Header().Set("Cache-Control", "max-age=300")
		h.ServeHTTP(w, r)
	})
}
