// Package server is a whole key server, wired together: a ledger, the
// protocols with what each keeps, and the administration. What they do is
// in their packages.
package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"latchkey/internal/secret"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/attest"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/fleet"
	k8s "latchkey/kms/server/k8s/keeper"
	kairos "latchkey/kms/server/kairos/keeper"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/rulebook"
	"latchkey/kms/server/site"
	talos "latchkey/kms/server/talos/keeper"
	tang "latchkey/kms/server/tang/keeper"
	"latchkey/kms/store"
)

// A Protocol is one that nodes speak.
type Protocol string

// Protocols.
const (
	LK1    Protocol = "lk1"
	Kairos Protocol = "kairos"
	Tang   Protocol = "tang"
)

// Config is what a Server runs on.
type Config struct {
	Store    store.Store
	Shared   bool                                        // other key servers run on this store, too
	Wrapping secret.Bytes                                // 32 bytes; not kept
	Again    func(context.Context) (secret.Bytes, error) // asks for it once more; nil: nobody can
	Mark     ledger.Mark
	Enroll   fleet.Enrollment
	Log      *slog.Logger // nil logs nothing
	Workers  int          // public-key operations at once; 0 is the number of cores

	Protocols []Protocol   // what nodes may speak; none is lk1
	EKRoots   *ekcert.Pool // for enrollment cert
	// StrictClock refuses nodes of Kairos whose TPM's clock is behind.
	StrictClock bool
	MaxMachines int            // of each protocol that may be known; 0: any number
	Policy      *policy.Policy // nil: every approved node, in the boot state that was approved
	Center      site.Dial      // how the server of a site connects to the center; nil is net.Dialer
}

// A Server answers nodes and its operator. It owns its store.
type Server struct {
	*ledger.Ledger
	*lk1.Service
	*admin.API

	// The keepers of other protocols.
	Kairos *kairos.Keeper
	Talos  *talos.Keeper
	Tang   *tang.Keeper

	Policy   *rulebook.Editor
	Sites    *site.Center
	Follower *site.Follower // not nil: this is the server of a site

	protocols []Protocol
	log       *slog.Logger
	measured  *measured
}

// rows are what all protocols keep.
type rows struct {
	lk1    *lk1.Rows
	kairos *kairos.Rows
	talos  *talos.Rows
	tang   *tang.Rows
}

func newRows() rows { return rows{lk1.NewRows(), kairos.NewRows(), talos.NewRows(), tang.NewRows()} }

func (r rows) bound(most int) {
	r.lk1.Bound(most)
	r.kairos.Bound(most)
	r.talos.Bound(most)
}

func (r rows) tables() []*ledger.Table {
	return slices.Concat(r.lk1.Tables(), r.kairos.Tables(), r.talos.Tables(), r.tang.Tables(), admin.Tables(), site.Tables(), rulebook.Tables())
}

func (r rows) graves() []*ledger.Graveyard {
	return slices.Concat(r.lk1.Graveyards(), r.tang.Graveyards())
}

// Tables lists what a store must have.
func Tables() []string { return ledger.Names(newRows().tables()) }

// LogTables are those of Tables that only grow and are read by key, or by
// the operator.
func LogTables() []string { return ledger.LogNames(newRows().tables()) }

// PassingTables are those of Tables whose rows live for minutes: they are in
// no backup.
func PassingTables() []string { return ledger.PassingNames(newRows().tables()) }

// CopyTables are those that a copy has, in the order to write them: without
// the last one's rows it is no KMS yet. To remove one, go backwards.
func CopyTables() []string { return ledger.CopyNames(newRows().tables()) }

// Open verifies the database and refuses one that it cannot verify; of the
// audit log it verifies what no checkpoint covers yet, WatchHistory the rest.
// It writes nothing.
func Open(c Config) (*Server, error) {
	s := &Server{protocols: c.Protocols, log: cmp.Or(c.Log, slog.New(slog.DiscardHandler)), measured: &measured{}}
	if len(s.protocols) == 0 {
		s.protocols = []Protocol{LK1}
	}
	c.Enroll = cmp.Or(c.Enroll, fleet.Approve)
	if err := s.checkChoices(c.Enroll); err != nil {
		return nil, err
	}

	kept, exchanges := newRows(), s.measured.Exchanges()
	kept.bound(c.MaxMachines)
	writes := s.measured.writes()
	var err error
	s.Ledger, err = ledger.Open(ledger.Config{
		Store: c.Store, Shared: c.Shared, Wrapping: c.Wrapping, Again: c.Again, Mark: c.Mark, Log: s.log, Wrote: writes,
		Tables: kept.tables(), Keyrings: []*ledger.Keyring{kept.talos.Keyring(), k8s.Keyring, admin.Keyring}, Graves: kept.graves(),
	})
	if err != nil {
		return nil, err
	}

	work := attest.NewWorkers(c.Workers)
	book := rulebook.New(c.Policy)
	s.Service = lk1.New(lk1.Config{
		Ledger: s.Ledger, Enroll: c.Enroll, EKRoots: c.EKRoots, Book: book, Work: work, Counted: exchanges, Log: s.log,
	}, kept.lk1)
	s.Kairos = kairos.New(kairos.Config{
		Ledger: s.Ledger, Enroll: c.Enroll, StrictClock: c.StrictClock, Work: work, Counted: exchanges, Log: s.log, Taken: s.Owned, Rules: s.Service, Several: s.Service,
	}, kept.kairos)
	s.Talos = talos.New(talos.Config{Ledger: s.Ledger, Rules: s.Service, Several: s.Service, Counted: exchanges, Log: s.log}, kept.talos)
	s.Tang = tang.New(tang.Config{Ledger: s.Ledger, Work: work, Counted: exchanges, Log: s.log}, kept.tang)
	s.Sites = site.NewCenter(s.Ledger, s.Service, s.log)
	s.Policy = &rulebook.Editor{Ledger: s.Ledger, Book: book, Several: s.Service}
	s.API = admin.New(s.Ledger, s.log, s.Service.Routes(), s.Policy.Routes(), s.Kairos.Routes(), s.Talos.Routes(), s.Tang.Routes(), s.Sites.Routes())
	s.API.SetSees(s.sees)
	if err := s.becomeSite(c.Center); err != nil {
		return nil, err
	}
	s.measured.counted = exchanges
	s.measured.watch(s)

	_, err = s.CheckTail()
	return s, err
}

// Salvage makes a database usable again of which a part cannot be verified.
func Salvage(ctx context.Context, st store.Store, wrapping secret.Bytes, mark ledger.Mark) (ledger.Salvaged, error) {
	kept := newRows()
	return ledger.Salvage(ctx, ledger.Config{
		Store: st, Wrapping: wrapping, Mark: mark,
		Tables: kept.tables(), Keyrings: []*ledger.Keyring{kept.talos.Keyring(), k8s.Keyring, admin.Keyring}, Graves: kept.graves(),
	})
}

func (s *Server) checkChoices(enroll fleet.Enrollment) error {
	for _, p := range s.protocols {
		if p != LK1 && p != Kairos && p != Tang {
			return fmt.Errorf("protocol %q is none of lk1, kairos, tang", p)
		}
	}

	switch {
	case !slices.Contains([]fleet.Enrollment{fleet.Approve, fleet.Closed, fleet.Cert, fleet.Tofu}, enroll):
		return fmt.Errorf("enrollment %q is none of approve, closed, cert, tofu", enroll)
	case enroll == fleet.Tofu:
		s.log.Warn("trust on first use: any machine that reaches this server gets a key of its own, and is trusted from then on; enrollment approve asks you first")
	}

	return nil
}
