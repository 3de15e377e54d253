package server

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/server/kairos"
)

// unavailable is a failure of ours: the node may ask again. Nothing was
// released.
type unavailable struct{ err error }

func (e *unavailable) Error() string { return e.err.Error() }
func (e *unavailable) Unwrap() error { return e.err }

// Handler answers nodes in these protocols, or, if none is named, in all
// that are switched on.
func (s *Server) Handler(protocols ...Protocol) http.Handler {
	if len(protocols) == 0 {
		protocols = s.protocols
	}
	mux := http.NewServeMux()
	if slices.Contains(protocols, LK1) {
		s.handleLK1(mux)
	}
	if slices.Contains(protocols, Kairos) {
		h := s.kairosHandler()
		for _, path := range []string{kairos.AttestationPath, kairos.GetPath, kairos.PostPath} {
			mux.Handle("GET "+path, h)
		}
	}
	return mux
}

// plainHandler answers without TLS where there is TLS: lk1 needs none.
func (s *Server) plainHandler(protocols []Protocol) http.Handler {
	mux := http.NewServeMux()
	if slices.Contains(protocols, LK1) {
		s.handleLK1(mux)
	}
	return mux
}

func (s *Server) handleLK1(mux *http.ServeMux) {
	mux.HandleFunc("POST "+kms.ChallengePath, s.exchange("challenge", func(r *http.Request, body []byte) ([]byte, error) {
		return s.challenge(r.Context(), body)
	}))
	mux.HandleFunc("POST "+kms.RedeemPath, s.exchange("redeem", func(r *http.Request, body []byte) ([]byte, error) {
		return s.redeem(r.Context(), body, front.Remote(r))
	}))
	mux.HandleFunc("POST "+kms.ReportPath, s.exchange("report", func(r *http.Request, body []byte) ([]byte, error) {
		return nil, s.report(r.Context(), body, front.Remote(r))
	}))
}

// exchange reads one bounded message and answers.
func (s *Server) exchange(operation string, f func(*http.Request, []byte) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, kms.MaxMessage))
		if err != nil {
			http.Error(w, "", http.StatusRequestEntityTooLarge)
			return
		}
		defer front.Serving(r.Context())()
		began := time.Now()
		reply, err := f(r, body)
		s.measured.request("lk1", operation, resultOf(err), began)
		s.reply(w, r, reply, err)
	}
}

// reply: our own failures are 503, malformed messages 400, and all that a
// message can be refused for is one 403.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, reply []byte, err error) {
	failed, ours := errors.AsType[*unavailable](err)
	switch {
	case errors.Is(err, errBusy):
		front.Busy(w)
	case ours:
		s.log.Error("answering", "path", r.URL.Path, "from", front.Remote(r), "err", failed)
		front.Busy(w)
	case err != nil:
		s.log.Warn("refused", "path", r.URL.Path, "from", front.Remote(r), "why", err)
		w.WriteHeader(http.StatusForbidden)

	case reply == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		w.Write(reply)
	}
}
