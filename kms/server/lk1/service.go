// Package lk1 is the key server's side of lk1: who gets which key. It judges
// proofs, keeps nodes, volumes and their secrets, and writes the audit log
// before it releases anything.
package lk1

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/metrics"
	"latchkey/kms/server/presence"
	"latchkey/kms/server/rulebook"
	"latchkey/kms/server/terms"
)

// Config is what a Service decides by and with.
type Config struct {
	Ledger  *ledger.Ledger
	Enroll  fleet.Enrollment
	EKRoots *ekcert.Pool // for enrollment cert
	Book    *rulebook.Book
	Work    *attest.Workers
	Counted *metrics.Exchanges
	Log     *slog.Logger
}

// A Service answers nodes and their operator.
type Service struct {
	ledger  *ledger.Ledger
	rows    *Rows
	cookies *cookies
	// refreshed is when the cookie keys were looked for in the store, where replicas share them
	refreshed atomic.Int64
	enroll    fleet.Enrollment
	log       *slog.Logger
	work      *attest.Workers
	counted   *metrics.Exchanges

	keepSecrets atomic.Int64 // a time.Duration, of those that rotations replace
	waitBackup  atomic.Bool  // no rotation ends before there is a backup with its secret

	looking sync.Mutex // through all nodes, for a watch
	book    *rulebook.Book
	chains  atomic.Bool // a release of the ledger is judged by a boot loader's events
	ekRoots atomic.Pointer[ekcert.Pool]

	bound  Bound                 // not nil: the rows are copies of another server's
	pinned atomic.Pointer[[]int] // PCRs that these pin

	recipients atomic.Pointer[[]string] // of recovery keys
	sites      Sites                    // nil: there are none

	lobby lobby // machines that were refused, and wait

	seen              *presence.Book // who was seen when
	present, vanished atomic.Int64   // machines that must be seen, at the last look
}

// New makes a service of rows that the config's ledger has registered.
func New(c Config, r *Rows) *Service {
	s := &Service{
		ledger: c.Ledger, rows: r, enroll: c.Enroll, book: c.Book, log: c.Log, work: c.Work, counted: c.Counted,
		cookies: &cookies{clock: &c.Ledger.Clock, shared: c.Ledger.Shared()},
		seen:    presence.NewBook(),
	}
	s.ekRoots.Store(c.EKRoots)
	s.SetKeepSecrets(ledger.DefaultGrace)
	return s
}

// Begin is called once before nodes are served. It forgets the challenges
// that an earlier process gave out (their cookies died with it), unless
// other replicas may have given them out, and begins an epoch.
func (s *Service) Begin(ctx context.Context) error {
	if s.ledger.Shared() {
		if err := s.rotate(ctx); err != nil {
			return err
		}
	}
	return s.update(ctx, func(t *txn) error {
		if err := errors.Join(t.forgetAllSpent(), t.forgetAllLinks()); err != nil {
			return err
		}
		if _, err := t.stored(); err != nil {
			return err
		}
		if err := t.EndIdle(); err != nil {
			return err
		}
		t.Bump()
		return t.Note(ledger.Event{Event: "start", Detail: "enrollment " + string(s.enroll)})
	})
}

// forgetAllSpent forgets what was redeemed at an earlier process, if nobody
// else takes its cookies.
func (t *txn) forgetAllSpent() error {
	if t.view.s.ledger.Shared() {
		return nil
	}
	var stale [][]byte
	t.Scan(tableSpent, nil, func(key []byte) bool {
		stale = append(stale, append([]byte(nil), key...))
		return true
	})
	for _, key := range stale {
		if err := t.Unmark(tableSpent, key); err != nil {
			return err
		}
	}
	return nil
}

// Owned tells whether a volume is bound to a node, or was and may be again.
func (s *Service) Owned(v ledger.View, uuid kms.UUID) (bool, error) {
	_, bound, err := s.view(v).owner(uuid)
	return bound || v.Has(graves.Table, graves.At(uuid[:])), err
}

// Pending counts the nodes that wait for the operator.
func (s *Service) Pending(v ledger.View) int { return s.rows.fleet.Pending(v) }

// A view reads what nodes have.
type view struct {
	ledger.View
	s     *Service
	kept  *kept       // releases, once they were read
	sight terms.Sight // of who administers; all, if a node asks
}

// A txn also writes it.
type txn struct {
	view
	*ledger.Txn
	nameless bool // nobody knows who administers: theirs is no word where several must agree
}

// read is a view of everything.
func (s *Service) read(f func(view) error) error { return s.see(context.Background(), f) }

// see is the view that who administers has.
func (s *Service) see(ctx context.Context, f func(view) error) error {
	return s.ledger.Read(func(v ledger.View) error {
		if err := s.book.Follow(v); err != nil {
			return err
		}
		one := s.view(v)
		one.sight = terms.SightOf(ctx, s)
		return f(one)
	})
}

func (s *Service) update(ctx context.Context, f func(*txn) error) error {
	return s.ledger.Update(ctx, func(t *ledger.Txn) error {
		if err := s.book.Follow(t.View); err != nil {
			return err
		}
		return f(s.by(ctx, t))
	})
}

// by is a transaction of who administers; of everything, if a node asks.
func (s *Service) by(ctx context.Context, lt *ledger.Txn) *txn {
	t := s.in(lt)
	t.sight = terms.SightOf(ctx, s)
	return t
}

// in is a transaction of the ledger as one of ours.
func (s *Service) in(t *ledger.Txn) *txn { return &txn{view: s.view(t.View), Txn: t} }

func (s *Service) view(v ledger.View) view { return view{v, s, &kept{}, terms.Sight{}} }
