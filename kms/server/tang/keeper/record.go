package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/tang"
)

// Bounds of what clients leave in the audit log, which only grows, and whom
// nothing proves: so many events of a source, and of all together, at once,
// which come back evenly over a day. Beyond them recoveries are answered and
// counted; the next event of the source says how many.
const (
	eventsPerSource = 250
	eventsInAll     = 200_000
	day             = 24 * time.Hour
	// maxSeen bounds the sources that are remembered as seen.
	maxSeen = 10_000
)

// events bounds them. Counts are of this process.
type events struct {
	meter, all meter

	mu   sync.Mutex
	left map[string]int // of each source, since its last event
}

// take tells whether an event of a source may be written, and how many were
// left out before it.
func (e *events) take(source string, now time.Duration) (left int, ok bool) {
	ok = e.meter.take(source, eventsPerSource, now) && e.all.take("", eventsInAll, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !ok {
		if e.left == nil {
			e.left = map[string]int{}
		}
		if _, known := e.left[source]; known || len(e.left) < maxSources {
			e.left[source]++
		}
		return 0, false
	}
	left = e.left[source]
	delete(e.left, source)
	return left, true
}

// record writes a recovery before it is answered. What was decided is decided
// again in the same transaction: a key that was retired meanwhile, or a client
// that was revoked, gets nothing.
func (k *Keeper) record(ctx context.Context, a tang.Ask, row key) error {
	from := ledger.SourceOf(a.From.String())
	left, ok := k.events.take(from, k.c.Ledger.Now())
	if !ok {
		return nil // judged already, and nothing is written
	}
	var refused error
	err := k.c.Ledger.Update(ctx, func(t *ledger.Txn) error {
		private, _, err := k.judge(t.View, a, row.Key.Thumbprint())
		private.D.Wipe()
		if r, no := errors.AsType[*tang.Refusal](err); no {
			refused = r
			return nil
		}
		if err != nil {
			return err
		}
		refused = nil
		e := ledger.Event{Event: "tang recover", Node: a.Client, Status: kms.OK.Code(), From: a.From.String(), Detail: "key " + row.Key.Thumbprint()}
		if left > 0 {
			e.Detail += fmt.Sprintf("; %d more from %s since its last event", left, from)
		}
		return k.note(t, a, from, e)
	})
	if err != nil {
		return &ledger.Unavailable{Err: err}
	}
	return refused
}

// note writes an event of a client. Where it asks from a place that is not
// known, somebody is told.
func (k *Keeper) note(t *ledger.Txn, a tang.Ask, from string, e ledger.Event) error {
	known := k.o.Load().Known
	if front.Contains(known, a.From) || len(known) == 0 && t.View.Has(k.rows.seen, []byte(from)) {
		return t.Note(e)
	}
	if t.View.Has(k.rows.seen, []byte(from)) {
		return t.NoteStranger(e)
	}
	if t.View.Glance().Count(k.rows.seen, maxSeen) < maxSeen {
		if err := t.Save(k.rows.seen, []byte(from), source{First: time.Now().UTC()}); err != nil {
			return err
		}
	}
	unknown := ledger.Event{Event: "tang unknown", Node: a.Client, Status: kms.OK.Code(), From: a.From.String(), Detail: "a client asked from a place where none was seen before: " + from}
	if len(known) > 0 {
		unknown.Detail = "a client asked from " + from + ", which is not in tang.known"
	}
	if err := t.NoteStranger(unknown); err != nil {
		return err
	}
	return t.NoteStranger(e)
}

// noteRefusal writes a refusal that somebody may want to know of. Anybody can
// send what is malformed: that is counted only.
func (k *Keeper) noteRefusal(ctx context.Context, a tang.Ask, thumbprint string, r *tang.Refusal) {
	if r.Reason == tang.Malformed || r.Reason == tang.NotExchange {
		return
	}
	left, ok := k.events.take(ledger.SourceOf(a.From.String()), k.c.Ledger.Now())
	if !ok {
		return
	}
	e := ledger.Event{Event: "tang recover", Node: a.Client, Status: "refused", Reason: r.Reason.Code(), From: a.From.String(), Detail: fmt.Sprintf("key %.86q", thumbprint)}
	if left > 0 {
		e.Detail += fmt.Sprintf("; %d more since its last event", left)
	}
	if err := k.c.Ledger.Update(ctx, func(t *ledger.Txn) error { return t.NoteStranger(e) }); err != nil {
		k.c.Log.Error("recording a refusal", "protocol", "tang", "err", err)
	}
}
