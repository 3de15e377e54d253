package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// A Scope is how much of the administration somebody may use. Each contains
// the one before.
type Scope string

const (
	// ScopeRead looks at everything but secrets.
	ScopeRead Scope = "read"
	// ScopeApprove also approves, accepts, stops and readmits nodes.
	ScopeApprove Scope = "approve"
	// ScopeAdmin does all.
	ScopeAdmin Scope = "admin"
)

var scopes = []Scope{ScopeRead, ScopeApprove, ScopeAdmin}

// allows tells whether who has s may do what needs want.
func (s Scope) allows(want Scope) bool {
	return slices.Contains(scopes, s) && slices.Index(scopes, s) >= slices.Index(scopes, want)
}

// A Route is one request of the administration: what the handler does, and
// what the OpenAPI document says of it.
type Route struct {
	Method, Path string
	Scope        Scope
	Reaching     Reaching // what it is to who does not reach all machines
	Doc          string   // one sentence
	Gives        bool     // the database away: that is in the audit log, though nothing changes
	Query        []Param
	Body         any   // a value of the type that is sent; []byte: as it is; nil: none
	Limit        int64 // of the body, in bytes; 0: 64 KiB
	Answer       any   // a value of the type that is answered; []byte: as it is
	Do           func(*http.Request) (any, error)
	Stream       func(http.ResponseWriter, *http.Request) // instead of Do: writes the answer itself
	Media        string                                   // content type of a stream's answer
}

// maxBody bounds an operator's request, in bytes.
const maxBody = 64 << 10

// A Param is a parameter of the query.
type Param struct {
	Name, Doc string
	Required  bool
	Repeated  bool   // it may be said more than once
	Kind      string // string if empty; integer, boolean, date-time, uuid
}

// Parameters that many routes have.
var (
	WhoParam  = Param{Name: "who", Doc: "six words, an id of 64 digits, or the value of the label name; or, if only one node has them, the first words, or eight or more of the id's first digits", Required: true}
	NowParam  = Param{Name: "now", Doc: "destroy it at once, whatever the grace is, and also if it was deleted before", Kind: "boolean"}
	UUIDParam = Param{Name: "uuid", Doc: "LUKS UUID", Required: true, Kind: "uuid"}
)

// handler bounds the body, and answers with JSON.
func handler(r Route) http.HandlerFunc {
	limit := r.Limit
	if limit == 0 {
		limit = maxBody
	}
	return func(w http.ResponseWriter, request *http.Request) {
		request.Body = http.MaxBytesReader(w, request.Body, limit)
		for _, p := range r.Query {
			if said := request.URL.Query()[p.Name]; len(said) > 1 && !p.Repeated {
				writeResult(w, nil, fmt.Errorf("%s is said %d times: say it once", p.Name, len(said)))
				return
			}
		}
		if r.Stream != nil {
			r.Stream(w, request)
			return
		}
		v, err := r.Do(request)
		writeResult(w, v, err)
	}
}

// Restrict refuses all that changes something, except what is below these
// paths, and says why. It is called before anybody is answered.
func (a *API) Restrict(why string, except ...string) {
	for i, r := range a.routes {
		if r.Method == http.MethodGet || slices.ContainsFunc(except, func(p string) bool { return strings.HasPrefix(r.Path, p) }) {
			continue
		}
		a.routes[i].Stream = nil
		a.routes[i].Do = func(*http.Request) (any, error) { return nil, fmt.Errorf("%w: %s", ledger.ErrRefused, why) }
	}
}

// AdminHandler answers the operator. Whoever reaches it is the operator: it
// is served on a Unix socket that only the KMS' user can open, or called in
// the process that has the database open.
func (a *API) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range a.routes {
		mux.HandleFunc(r.Method+" "+r.Path, handler(r))
	}
	return mux
}

// scopeKey finds in a context what who administers may do.
type scopeKey struct{}

// personKey finds in a context who administers from elsewhere.
type personKey struct{}

// As is a context in which somebody administers from elsewhere.
func As(ctx context.Context, p Person) context.Context {
	ctx = Reaches(context.WithValue(ledger.As(ctx, p.Who), scopeKey{}, p.Scope), p.Reach)
	return context.WithValue(ctx, personKey{}, person{cmp.Or(p.Is, p.Who), p.Token})
}

// A person is what personKey finds.
type person struct {
	is    string
	token []byte
}

// Through is the token that somebody administers by, as its hash: nil if by
// none.
func Through(ctx context.Context) []byte {
	p, _ := ctx.Value(personKey{}).(person)
	return p.token
}

// Counts tells whether a token of Through is still one; none always counts.
func Counts(v ledger.View, token []byte) bool {
	if token == nil {
		return true
	}
	var t Token
	found, err := v.Load(tableTokens, token, &t)
	return err == nil && found && time.Now().Before(t.Expires)
}

// Identity is who administers, however they came in: the name of a token, of
// a client certificate or of a provider's subject, and for a token that was
// made over HTTPS the name of who made it. Who does so by the socket is the
// user that the kernel names.
func Identity(ctx context.Context) string {
	if p, ok := ctx.Value(personKey{}).(person); ok {
		return p.is
	}
	return ledger.Who(ctx)
}

// Here tells whether who administers is on the key server's host.
func Here(ctx context.Context) bool {
	_, remote := ctx.Value(personKey{}).(person)
	return !remote
}

// May tells whether who administers may do what needs want. Who does so by
// the socket may do all.
func May(ctx context.Context, want Scope) bool {
	scope, ok := ctx.Value(scopeKey{}).(Scope)
	return !ok || scope.allows(want)
}

// Problem is how an error travels to the command.
type Problem struct {
	Error string `json:"error"`
}

func writeResult(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		v, status = Problem{err.Error()}, statusOf(err)
	}
	body, encoding := json.Marshal(v)
	if encoding != nil {
		http.Error(w, `{"error":"encoding the answer"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

func statusOf(err error) int {
	if _, ours := errors.AsType[*ledger.Unavailable](err); ours {
		return http.StatusServiceUnavailable
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge
	}

	switch {
	case errors.Is(err, errUnknown):
		return http.StatusUnauthorized
	case errors.Is(err, ErrScope):
		return http.StatusForbidden
	case errors.Is(err, ledger.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ledger.ErrRefused), errors.Is(err, ledger.ErrAmbiguous):
		return http.StatusConflict
	case errors.Is(err, ledger.ErrUnverified), errors.Is(err, ledger.ErrRolledBack):
		return http.StatusInternalServerError
	}

	return http.StatusBadRequest
}

// Now tells whether a request says NowParam.
func Now(r *http.Request) (bool, error) { return Said(r, NowParam.Name) }

// Said is a query's yes or no; not given is no.
func Said(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	yes, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s %.20q: must be true or false", name, text)
	}
	return yes, nil
}

// List makes an empty list of nothing, for JSON.
func List[T any](v []T, err error) (any, error) {
	if v == nil {
		v = []T{}
	}
	return v, err
}

// WithUUID reads the parameter uuid for f.
func WithUUID(f func(*http.Request, kms.UUID) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		uuid, err := kms.ParseUUID(r.URL.Query().Get("uuid"))
		if err != nil {
			return nil, err
		}
		return f(r, uuid)
	}
}

// Prefixes reads networks of the query.
func Prefixes(texts []string) (out []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("reading a network: %.64q is none", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
