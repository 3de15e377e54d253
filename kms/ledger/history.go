package ledger

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// HistoryOptions say what becomes of the audit log while it grows.
type HistoryOptions struct {
	Every time.Duration // a checkpoint, if there was an event; zero is a day
	Keep  Keep

	Witnesses []Witness // that are asked to cosign the checkpoints
	Archive   Archiver  // takes sealed segments before they may be removed; nil: nobody does
}

// An Archiver keeps sealed segments elsewhere: Put does nothing if it has one
// already. events writes its events, one on a line.
type Archiver interface {
	Put(s Segment, events func(io.Writer) error) (wrote bool, err error)
}

// everyDefault is how old the first event of a segment gets.
const everyDefault = 24 * time.Hour

// historyEvery is how often it is looked whether something is due.
const historyEvery = time.Minute

// verifySlice is how many events are verified in one view of the store.
const verifySlice = 2000

// aged is what is known of the sealed part of the audit log.
type aged struct {
	options atomic.Pointer[HistoryOptions]
	wake    chan struct{}
	swept   atomic.Uint64 // the highest number below which no removed event is left

	archive  Archiver          // of archived: both are WatchHistory's own
	archived map[string]uint64 // the newest segment of each server that it has

	mu       sync.Mutex
	verified uint64 // events of the sealed part, since the start
	of       uint64
	done     bool
	err      error
}

// SetHistory says what is to become of the log from now on.
func (l *Ledger) SetHistory(o HistoryOptions) {
	l.options.Store(&o)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Verifying is how much of the part of the audit log that was sealed before
// the start is verified, in events.
func (l *Ledger) Verifying() (verified, of uint64, done bool) {
	l.aged.mu.Lock()
	defer l.aged.mu.Unlock()
	return l.verified, l.of, l.done
}

// leaves notes how much VerifySealed has to do.
func (l *Ledger) leaves(events uint64) {
	l.aged.mu.Lock()
	defer l.aged.mu.Unlock()
	l.verified, l.of, l.done = 0, events, events == 0
}

// damaged says what is wrong with the history.
func (l *Ledger) damaged() error {
	l.aged.mu.Lock()
	defer l.aged.mu.Unlock()
	return l.aged.err
}

// WatchHistory verifies what was sealed before the start, and then seals and
// removes what is due, until ctx ends.
func (l *Ledger) WatchHistory(ctx context.Context) {
	if is, ours, err := l.Format(); err == nil && is < ours {
		l.log.Warn("the store is in an older format, without what came since (docs/upgrade.md); once no earlier version runs on it, run: latchkey-kms store upgrade", "format", is)
	}
	if err := l.VerifySealed(ctx); err != nil && ctx.Err() == nil {
		l.log.Error("nothing is released: the audit log before its last checkpoint is not what was sealed", "err", err)
	}
	for ctx.Err() == nil {
		if l.damaged() == nil {
			l.due(ctx)
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-time.After(historyEvery):
		}
	}
}

// due seals and removes.
func (l *Ledger) due(ctx context.Context) {
	o := l.options.Load()
	if o == nil {
		return
	}
	every := o.Every
	if every == 0 {
		every = everyDefault
	}
	sealed, err := l.SealDue(ctx, every)
	for _, s := range sealed {
		l.log.Info("sealed a segment of the audit log", "segment", s.Number, "events", s.End-s.Start, "server", s.Server)
	}
	for _, w := range o.Witnesses {
		if _, failed := l.Cosign(ctx, w); failed != nil && ctx.Err() == nil {
			l.log.Warn("a witness has not cosigned the audit log's checkpoint; it is asked again in a minute", "witness", w.Name(), "err", failed)
		}
	}
	if err == nil && o.Archive != nil {
		err = l.putAway(ctx, o.Archive)
	}
	var gone []Segment
	if err == nil {
		gone, err = l.Prune(ctx, o.Keep)
	}
	for _, s := range gone {
		l.log.Info("removed old events of the audit log; their checkpoint stays", "segment", s.Number, "events", s.End-s.Start, "server", s.Server)
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("the audit log; it is tried again in a minute", "err", err)
	}
}

// VerifySealed verifies the part of the audit log that CheckTail leaves out,
// a slice at a time. Once it is wrong nothing is released any more.
func (l *Ledger) VerifySealed(ctx context.Context) error {
	var r *reading
	var from map[string]Segment // where the segments that were removed ended then
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := l.Read(func(v View) (err error) {
			bases, err := v.bases()
			if err != nil {
				return err
			}
			if r == nil || !maps.EqualFunc(bases, from, func(a, b Segment) bool { return a.Number == b.Number }) {
				if r, err = v.readSealed(); err != nil {
					return err
				}
				from = bases
			}
			done, err = r.read(v, verifySlice)
			return err
		})
		l.verifies(r, done, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// verifies notes how far it came.
func (l *Ledger) verifies(r *reading, done bool, err error) {
	a := &l.aged
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done = done; r != nil {
		a.verified, a.of = r.events, r.total()
	}
	if err != nil {
		a.err = fmt.Errorf("verifying the audit log: %w", err)
	}
}

// total is how many events are to be read.
func (r *reading) total() (n uint64) {
	for server, end := range r.ends {
		n += end.events
		if c := r.chains[server]; c != nil {
			n -= c.from.events
		}
	}
	return n
}
