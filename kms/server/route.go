package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
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

// A route is one request of the administration: what the handler does, and
// what the OpenAPI document says of it.
type route struct {
	method, path string
	scope        Scope
	doc          string // one sentence
	query        []param
	body         any   // a value of the type that is sent; []byte: as it is; nil: none
	limit        int64 // of the body, in bytes; 0: maxAdmin
	answer       any   // a value of the type that is answered; []byte: as it is
	do           func(*http.Request) (any, error)
	stream       func(http.ResponseWriter, *http.Request) // instead of do: writes the answer itself
	media        string                                   // content type of a stream's answer
}

// A param is a parameter of the query.
type param struct {
	name, doc string
	required  bool
	kind      string // string if empty; integer, boolean, date-time, uuid
}

var (
	whoParam  = param{name: "who", doc: "six words, or an id of 64 digits, or eight or more of its first digits", required: true}
	uuidParam = param{name: "uuid", doc: "LUKS UUID", required: true, kind: "uuid"}
)

// routes are all requests of the administration.
func (s *Server) routes() []route {
	return slices.Concat(s.nodeRoutes(), s.volumeRoutes(), s.policyRoutes(), s.trustRoutes(), s.tokenRoutes(), s.documentRoutes(), s.storeRoutes(), s.kairosRoutes(), s.talosRoutes(), s.keyRoutes())
}

// handler bounds the body, and answers with JSON.
func (s *Server) handler(r route) http.HandlerFunc {
	limit := r.limit
	if limit == 0 {
		limit = maxAdmin
	}
	return func(w http.ResponseWriter, request *http.Request) {
		request.Body = http.MaxBytesReader(w, request.Body, limit)
		if r.stream != nil {
			r.stream(w, request)
			return
		}
		v, err := r.do(request)
		writeResult(w, v, err)
	}
}

// AdminHandler answers the operator. Whoever reaches it is the operator: it
// is served on a Unix socket that only the KMS' user can open, or called in
// the process that has the database open.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.HandleFunc(r.method+" "+r.path, s.handler(r))
	}
	return mux
}

// whoKey finds in a context who administers.
type whoKey struct{}

// A user is who administers over HTTPS.
type user struct {
	name  string
	scope Scope
}

// as is a context in which a user administers.
func as(ctx context.Context, u user) context.Context {
	return context.WithValue(ctx, whoKey{}, u)
}

// userOf is who administers; who does so by the socket is the operator.
func userOf(ctx context.Context) user {
	if u, ok := ctx.Value(whoKey{}).(user); ok {
		return u
	}
	return user{"operator", ScopeAdmin}
}

// operator is who administers: for the audit log.
func operator(ctx context.Context) string { return userOf(ctx).name }

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
	if _, ours := errors.AsType[*unavailable](err); ours {
		return http.StatusServiceUnavailable
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge
	}

	switch {
	case errors.Is(err, errUnknown):
		return http.StatusUnauthorized
	case errors.Is(err, errScope):
		return http.StatusForbidden
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrRefused), errors.Is(err, ErrAmbiguous):
		return http.StatusConflict
	case errors.Is(err, ErrUnverified), errors.Is(err, ErrRolledBack):
		return http.StatusInternalServerError
	}

	return http.StatusBadRequest
}
