// Package ledger is what a key server keeps, and how: records sealed in
// tables that their owners register, one transaction that carries them, the
// epoch and the audit log on, the keys that sign, and the mark by which an
// old copy is noticed. What the records mean is their owners' business.
package ledger

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"latchkey/internal/secret"
	"latchkey/kms/store"
)

// Errors of the operator's commands.
var (
	ErrNotFound  = errors.New("there is no such one")
	ErrAmbiguous = errors.New("more than one matches")
	ErrRefused   = errors.New("refused")
)

// Unavailable is a failure of ours: who asked may ask again. Nothing was
// released.
type Unavailable struct{ Err error }

func (e *Unavailable) Error() string { return e.Err.Error() }
func (e *Unavailable) Unwrap() error { return e.Err }

// Config is what a Ledger runs on.
type Config struct {
	Store    store.Store
	Shared   bool         // other key servers run on this store, too
	Wrapping secret.Bytes // 32 bytes; not kept
	// Again asks for the wrapping key once more, for data keys that are added; nil: nobody can.
	Again func(context.Context) (secret.Bytes, error)
	Mark  Mark
	Log   *slog.Logger          // nil logs nothing
	Wrote func(seconds float64) // told how long a change took to be on stable storage; nil: nobody

	SegmentEvents int    // of a segment of the audit log, at most; 0 is 10,000
	SealLimit     uint64 // seals by one data key, at most; 0 is what AES-GCM takes

	Tables   []*Table   // of all owners
	Keyrings []*Keyring // of all owners
	Graves   []*Graveyard
}

// A Ledger owns its store.
type Ledger struct {
	Clock

	store     store.Store
	shared    bool
	server    string // name of this server's head; "" where it is the only one
	chain     *keychain
	again     func(context.Context) (secret.Bytes, error) // asks for the wrapping key; nil: nobody can
	name      []byte                                      // of the KMS
	tables    map[string]*Table
	keyrings  map[string]*Keyring
	log       *slog.Logger
	observe   func(seconds float64)
	news      news
	strangers strangers
	health    health

	graveyards []*Graveyard
	grace      atomic.Int64 // a time.Duration

	segmentEvents uint64 // of a segment, at most
	sealLimit     uint64 // seals by one data key, at most
	rekeying      rekeying
	aged

	keys     atomic.Pointer[[]ed25519.PrivateKey] // the first one signs for who trusts several
	keysRead atomic.Int64                         // when they were read, on the Clock

	markMu  sync.Mutex
	mark    Mark
	marking marking
}

// Open opens the data key and the signing keys. It verifies no more (Check
// does) and writes nothing.
func Open(c Config) (*Ledger, error) {
	l := &Ledger{
		store: c.Store, shared: c.Shared, log: cmp.Or(c.Log, slog.New(slog.DiscardHandler)), observe: c.Wrote, mark: c.Mark, again: c.Again, chain: &keychain{},
		tables: map[string]*Table{}, keyrings: map[string]*Keyring{}, segmentEvents: uint64(cmp.Or(c.SegmentEvents, segmentEvents)),
		sealLimit: cmp.Or(c.SealLimit, sealLimit), rekeying: newRekeying(),
	}
	l.begin(c.Shared)
	l.SetGrace(DefaultGrace)
	l.graveyards = append(slices.Clone(c.Graves), ringGraves, signingGraves)
	l.server = serverName(c)
	l.health.failed, l.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	if l.observe == nil {
		l.observe = func(float64) {}
	}
	if err := l.register(c.Tables, c.Keyrings); err != nil {
		return nil, err
	}
	if err := l.unlock(c.Wrapping); err != nil {
		return nil, err
	}
	if w, ok := c.Store.(store.Watched); ok {
		w.Guard(l.guard)
	}
	return l, nil
}

// serverName is the name that the mark keeps for this server, or a new one.
func serverName(c Config) string {
	if !c.Shared {
		return ""
	}
	if p, err := c.Mark.Read(); err == nil && p.Server != "" {
		return p.Server
	}
	return hex.EncodeToString(secret.Random(serverSize).Reveal())
}

// Close ends the answers that last, and closes the store. The mark has all
// events then.
func (l *Ledger) Close() error {
	l.EndWatches()
	l.MarkNow()
	return l.store.Close()
}

// Backup writes one consistent state of the database, still sealed.
func (l *Ledger) Backup(w io.Writer) error { return l.store.Backup(w) }

// Counts are what this process wrote to a store that several servers share;
// false where there is only one.
func (l *Ledger) Counts() (store.Counts, bool) {
	c, ok := l.store.(store.Counter)
	if !ok {
		return store.Counts{}, false
	}
	return c.Counts(), true
}

// Shared tells whether other key servers run on the store, too.
func (l *Ledger) Shared() bool { return l.shared }

// Name is 8 bytes that tell this KMS from all others, whatever keys it
// signs with.
func (l *Ledger) Name() []byte { return l.name }

// whoKey finds in a context who administers.
type whoKey struct{}

// As is a context in which somebody administers, by name.
func As(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, whoKey{}, who)
}

// Who is who administers, for the audit log: the operator, unless a context
// says otherwise.
func Who(ctx context.Context) string {
	if who, ok := ctx.Value(whoKey{}).(string); ok {
		return who
	}
	return "operator"
}
