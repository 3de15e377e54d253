// Package server is the key server's side of lk1: who gets which key. It
// judges proofs, keeps its records sealed, writes the audit log before it
// releases anything, and is administered through an HTTP handler of its
// own.
package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"latchkey/internal/secret"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/policy"
	"latchkey/kms/store"
)

// A Mark is the epoch's high-water mark. It is kept apart from the
// database, so that an old copy of the database is noticed.
type Mark interface {
	Read() (uint64, error)
	Write(uint64) error
}

// ErrRolledBack is a database older than the high-water mark.
var ErrRolledBack = errors.New("the database is older than the last change made to it")

// Config is what a Server runs on.
type Config struct {
	Store    store.Store
	Shared   bool         // other key servers run on this store, too
	Wrapping secret.Bytes // 32 bytes; not kept
	Mark     Mark
	Enroll   Enrollment
	Log      *slog.Logger // nil logs nothing
	Workers  int          // public-key operations at once; 0 is the number of cores

	Protocols []Protocol     // what nodes may speak; none is lk1
	EKRoots   *ekcert.Pool   // for enrollment cert
	Policy    *policy.Policy // nil: every approved node, in the boot state that was approved
}

// A Server answers nodes and its operator. It owns its store.
type Server struct {
	store   store.Store
	vault   *vault
	keys    atomic.Pointer[[]ed25519.PrivateKey] // the first one signs for nodes that pin several
	cookies *cookies
	// refreshed is when the cookie keys were looked for in the store, where replicas share them
	refreshed atomic.Int64
	keysRead  atomic.Int64 // when the signing keys were, on cookies.now's clock
	enroll    Enrollment
	log       *slog.Logger
	work      *workers
	pending   waitingRoom

	news    news
	rules   atomic.Pointer[policy.Policy]
	ekRoots atomic.Pointer[ekcert.Pool] // for enrollment cert

	protocols     []Protocol
	kairosPending waitingRoom

	health   health
	measured *measured

	talos        atomic.Pointer[TalosOptions]
	talosPending waitingRoom

	markMu sync.Mutex
	mark   Mark
	raised uint64
}

// Open verifies the database and refuses one that it cannot verify. It
// writes nothing.
func Open(c Config) (*Server, error) {
	s := &Server{
		store: c.Store, cookies: newCookies(), enroll: c.Enroll, log: c.Log, mark: c.Mark, work: newWorkers(c.Workers),
		protocols: c.Protocols,
	}
	s.rules.Store(&policy.Policy{})
	s.ekRoots.Store(c.EKRoots)
	if c.Policy != nil {
		s.rules.Store(c.Policy)
	}

	s.measured, s.health.failed = newMeasured(s), make(chan struct{}, 1)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.enroll == "" {
		s.enroll = Approve
	}

	if c.Shared {
		s.cookies.share()
	}
	if err := s.checkChoices(); err != nil {
		return nil, err
	}

	if err := s.unlock(c.Wrapping); err != nil {
		return nil, err
	}
	_, err := s.Check()
	return s, err
}

func (s *Server) checkChoices() error {
	if len(s.protocols) == 0 {
		s.protocols = []Protocol{LK1}
	}
	for _, p := range s.protocols {
		if p != LK1 && p != Kairos {
			return fmt.Errorf("protocol %q is neither lk1 nor kairos", p)
		}
	}

	switch {
	case !slices.Contains([]Enrollment{Approve, Closed, Cert, Tofu}, s.enroll):
		return fmt.Errorf("enrollment %q is none of approve, closed, cert, tofu", s.enroll)
	case s.enroll == Tofu:
		s.log.Warn("trust on first use: any machine that reaches this server gets a key of its own, and is trusted from then on; enrollment approve asks you first")
	}

	return nil
}

// Begin is called once before nodes are served. It forgets the challenges
// that an earlier process gave out (their cookies died with it), unless
// other replicas may have given them out, and begins an epoch.
func (s *Server) Begin(ctx context.Context) error {
	if s.cookies.shared {
		if err := s.rotate(ctx); err != nil {
			return err
		}
	}
	return s.update(ctx, func(t *txn) error {
		var stale [][]byte
		t.Scan(tableSpent, nil, func(key, _ []byte) bool {
			if !s.cookies.shared {
				stale = append(stale, append([]byte(nil), key...))
			}
			return !s.cookies.shared
		})
		for _, key := range stale {
			if err := t.tx.Delete(tableSpent, key); err != nil {
				return err
			}
		}
		t.bump()
		return t.note(Event{Event: "start", Detail: "enrollment " + string(s.enroll)})
	})
}

// Close closes the store.
func (s *Server) Close() error { return s.store.Close() }

// raiseMark follows the database: it is raised after a change is on disk,
// so that a crash between the two leaves the mark behind, never ahead.
func (s *Server) raiseMark(epoch uint64) error {
	s.markMu.Lock()
	defer s.markMu.Unlock()
	if epoch <= s.raised {
		return nil
	}
	if err := s.mark.Write(epoch); err != nil {
		return fmt.Errorf("writing the epoch's high-water mark: %w", err)
	}
	s.raised = epoch
	return nil
}
