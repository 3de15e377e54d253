package lk1

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
)

// Handle adds the exchanges to a mux.
func (s *Service) Handle(mux *http.ServeMux) {
	mux.HandleFunc("POST "+kms.ChallengePath, s.exchange("challenge", kms.MaxMessage, func(r *http.Request, body []byte) ([]byte, error) {
		return s.challenge(r.Context(), body)
	}))
	mux.HandleFunc("POST "+kms.RedeemPath, s.exchange("redeem", kms.MaxMessage, func(r *http.Request, body []byte) ([]byte, error) {
		return s.redeem(r.Context(), body, front.Remote(r))
	}))
	mux.HandleFunc("POST "+kms.ReportPath, s.exchange("report", kms.MaxMessage, func(r *http.Request, body []byte) ([]byte, error) {
		return nil, s.report(r.Context(), body, front.Remote(r))
	}))
	mux.HandleFunc("POST "+kms.BeatPath, s.exchange("beat", kms.MaxMessage, func(r *http.Request, body []byte) ([]byte, error) {
		return s.beat(r.Context(), body, front.Remote(r))
	}))
	mux.HandleFunc("POST "+kms.EvidencePath, s.exchange("evidence", kms.MaxEvidence, func(r *http.Request, body []byte) ([]byte, error) {
		return nil, s.evidence(r.Context(), body, front.Remote(r))
	}))
	mux.HandleFunc("POST "+kms.WaitPath, s.wait)
	mux.HandleFunc("POST "+kms.RecoveryPath, s.exchange("recovery", kms.MaxMessage, func(r *http.Request, body []byte) ([]byte, error) {
		return s.recovery(r.Context(), body, front.Remote(r))
	}))
}

// exchange reads one bounded message and answers.
func (s *Service) exchange(operation string, most int64, f func(*http.Request, []byte) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := message(w, r, most)
		if !ok {
			return
		}
		defer front.Serving(r.Context())()
		began := time.Now()
		reply, err := f(r, body)
		s.counted.Request("lk1", operation, resultOf(err), began)
		s.reply(w, r, reply, err)
	}
}

// message reads one of at most so many bytes, or says why there is none.
func message(w http.ResponseWriter, r *http.Request, most int64) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		http.Error(w, "", http.StatusRequestEntityTooLarge)
	} else if err != nil {
		http.Error(w, "", http.StatusRequestTimeout) // or it is gone
	}
	return body, err == nil
}

// reply: our own failures are 503, and all that a message can be refused for,
// malformed ones too, is one 403.
func (s *Service) reply(w http.ResponseWriter, r *http.Request, reply []byte, err error) {
	failed, ours := errors.AsType[*ledger.Unavailable](err)
	switch {
	case errors.Is(err, attest.ErrBusy):
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

// resultOf says how a request ended.
func resultOf(err error) string {
	if _, ours := errors.AsType[*ledger.Unavailable](err); ours {
		return "failed"
	}
	switch {
	case errors.Is(err, attest.ErrBusy):
		return "busy"
	case err != nil:
		return "refused"
	}
	return "ok"
}
