package page

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"

	"latchkey/kms/admin"
)

// A visit is one request of somebody who is signed in.
type visit struct {
	*Page
	w      http.ResponseWriter
	r      *http.Request
	person admin.Person
}

// page lets only those in who are signed in; others are sent to sign in.
func (p *Page) page(show func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		person, err := p.identify(r)
		if err != nil {
			p.mustSignIn(w, r)
			return
		}
		v := &visit{p, w, r, person}
		if err := show(v); err != nil {
			v.fail(err)
		}
	})
}

// mustSignIn sends a person to the form, and tells a script no.
func (p *Page) mustSignIn(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Dest") == "empty" || r.URL.Path == "/audit.jsonl" {
		p.show(w, r, http.StatusUnauthorized, "problem", problem{Text: "You are not signed in, or no longer.", Back: "/sign-in"})
		return
	}
	http.Redirect(w, r, "/sign-in?to="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
}

// ask has the API do something for who is signed in.
func (v *visit) ask(method, path string, query url.Values, body []byte, to any) error {
	r, err := http.NewRequestWithContext(v.r.Context(), method, path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header, r.TLS, r.RemoteAddr = v.r.Header, v.r.TLS, v.r.RemoteAddr
	reply, err := admin.Ask(v.api, r)
	if err != nil {
		return err
	}
	return admin.Decode(reply, to)
}

// get asks for something to show.
func (v *visit) get(path string, query url.Values, to any) error {
	return v.ask(http.MethodGet, path, query, nil, to)
}

// A problem is what went wrong, and where to go from there.
type problem struct{ Text, Back string }

// fail shows why a page is not there.
func (v *visit) fail(err error) {
	status := http.StatusInternalServerError
	if e, ok := errors.AsType[*admin.StatusError](err); ok {
		status = e.Status
	} else {
		v.Log.Error("showing a page", "path", v.r.URL.Path, "err", err)
	}
	v.show(v.w, v.r, status, "problem", problem{err.Error(), "/machines"})
}

// render shows a page to who is signed in.
func (v *visit) render(name string, data any) error {
	v.Page.render(v.w, http.StatusOK, name, view{Path: v.r.URL.Path, Who: v.person.Who, Scope: v.person.Scope, Reach: v.person.Reach, Data: data})
	return nil
}

// A view is what every page is made of.
type view struct {
	Path  string
	Who   string // empty: nobody is signed in
	Scope admin.Scope
	Reach admin.Reach // which machines it is about
	Data  any
}

// May tells whether the scope is that of a button.
func (v view) May(scope string) bool { return admin.Person{Scope: v.Scope}.May(admin.Scope(scope)) }

// show shows a page to whoever it is.
func (p *Page) show(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	one := view{Path: r.URL.Path, Data: data}
	if person, err := p.identify(r); err == nil {
		one.Who, one.Scope, one.Reach = person.Who, person.Scope, person.Reach
	}
	p.render(w, status, name, one)
}

// render writes a page whole, or an error.
func (p *Page) render(w http.ResponseWriter, status int, name string, data view) {
	var b bytes.Buffer
	if err := pages[name].Execute(&b, data); err != nil {
		p.Log.Error("making a page", "page", name, "err", err)
		http.Error(w, "this page could not be made; the server's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	io.Copy(w, &b)
}

// pages are the templates, each with the frame around it but for fragments.
var pages = parsePages()

func parsePages() map[string]*template.Template {
	all := map[string]*template.Template{}
	frame := template.Must(template.New("").Funcs(funcs).ParseFS(templates, "templates/frame.html", "templates/parts.html"))
	for _, name := range []string{"audit", "health", "link", "linked", "machine", "machines", "others", "people", "problem", "recovery", "releases", "signedin", "signin", "volumes"} {
		t := template.Must(template.Must(frame.Clone()).ParseFS(templates, fmt.Sprintf("templates/%s.html", name)))
		all[name] = t.Lookup("frame")
	}
	all["waiting"] = frame.Lookup("waiting")
	return all
}
