package daemon

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/front"
	"latchkey/kms/home"
	"latchkey/kms/ledger"
	"latchkey/kms/operator"
	"latchkey/kms/wrapping"
)

// operators hear why nothing is done, in the form of the administration's
// errors, and give shares of the wrapping key. A share is its own proof:
// nobody is known yet. Nor is anybody told a reason that names hosts and
// files unless he is on this host.
func (s *seal) operators(why func() string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { s.problem(w, http.StatusServiceUnavailable, why()) })
	mux.HandleFunc("GET "+operator.UnsealPath, func(w http.ResponseWriter, _ *http.Request) {
		if s.gather == nil {
			s.problem(w, http.StatusServiceUnavailable, why()+"; the wrapping key is not kept in shares")
			return
		}
		s.progress(w, s.gather.Progress())
	})
	mux.HandleFunc("POST "+operator.UnsealPath, func(w http.ResponseWriter, r *http.Request) {
		if s.gather == nil {
			s.problem(w, http.StatusServiceUnavailable, why()+"; the wrapping key is not kept in shares")
			return
		}
		s.take(w, r)
	})
	return mux
}

// maxShare bounds a request with a share, in bytes.
const maxShare = 2 << 10

// take takes one share from somebody.
func (s *seal) take(w http.ResponseWriter, r *http.Request) {
	who, from := ledger.Who(r.Context()), front.Remote(r)
	if _, tcp := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); tcp {
		who = "share from " + from
	}
	if !s.wrong.may(from) {
		w.Header().Set("Retry-After", "60")
		s.problem(w, http.StatusTooManyRequests, "too many wrong shares from this address; wait a minute")
		return
	}
	var given operator.Share
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxShare)).Decode(&given); err != nil {
		s.problem(w, http.StatusBadRequest, "there is no share in the request")
		return
	}
	p, err := s.gather.Give(given.Share, who)
	switch {
	case errors.Is(err, wrapping.ErrShareTwice):
		s.problem(w, http.StatusConflict, err.Error())
	case err != nil:
		s.wrong.add(from)
		s.log.Warn("a share of the wrapping key was not taken", "from", who, "why", err)
		s.problem(w, http.StatusForbidden, err.Error())
	default:
		s.log.Info("a share of the wrapping key was given", "from", who, "have", p.Have, "need", p.Need)
		s.progress(w, p)
	}
}

func (s *seal) problem(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable {
		comeBack(w)
	} else {
		w.WriteHeader(status)
	}
	json.NewEncoder(w).Encode(admin.Problem{Error: text})
}

func (s *seal) progress(w http.ResponseWriter, p wrapping.Progress) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(p)
}

// whole is closed when there are enough shares; nil if none are wanted.
func (s *seal) whole() <-chan struct{} {
	if s.gather == nil {
		return nil
	}
	return s.gather.Whole()
}

// keys are what the shares give.
func (s *seal) keys() (home.Keys, []wrapping.Giver, error) {
	key, material, by, err := s.gather.Key()
	if err != nil {
		return nil, nil, err
	}
	return home.Keys{material: key}, by, nil
}

// guesses count wrong shares by where they come from, for a minute.
type guesses struct {
	mu    sync.Mutex
	since time.Time
	from  map[string]int
}

// Bounds of what is counted in a minute.
const (
	wrongMost    = 20
	wrongSources = 4096
)

func (g *guesses) may(from string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.since) >= time.Minute {
		g.since, g.from = time.Now(), map[string]int{}
	}
	return g.from[from] < wrongMost
}

func (g *guesses) add(from string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.from[from]; known || len(g.from) < wrongSources {
		g.from[from]++
	}
}
