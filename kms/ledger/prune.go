package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Keep says how much of the audit log stays in the store. Zero is all.
type Keep struct {
	For   time.Duration // since an event was
	Bytes uint64        // of the events
}

// pruneRows is how many events are removed at once where others share the
// store, and where not: shared stores bound a transaction.
const (
	pruneRowsShared = 50
	pruneRows       = 1000
)

// maxJump is how far the wall clock may have been set while the process runs
// for its time to be believed: one that is set wrong must not end the history.
const maxJump = time.Hour

// Prune removes the events of sealed segments that are older than what is to
// be kept, the oldest first. Their checkpoints stay. It returns the segments
// that went.
func (l *Ledger) Prune(ctx context.Context, keep Keep) (gone []Segment, err error) {
	if l.Jump().Abs() > maxJump {
		keep.For = 0
	}
	err = l.Read(func(v View) error {
		all, err := v.Segments()
		gone = keep.ends(all, l.Wall())
		return err
	})
	for i := 0; err == nil && i < len(gone); i++ {
		err = l.remove(ctx, gone[i])
	}
	if err == nil {
		err = l.sweep(ctx)
	}
	if err != nil {
		err = fmt.Errorf("removing old events of the audit log: %w", err)
	}
	return gone, err
}

// ends chooses the segments that go; of a server always the oldest first.
func (k Keep) ends(all []Segment, now time.Time) (gone []Segment) {
	all = slices.DeleteFunc(all, func(s Segment) bool { return s.Removed })
	total := uint64(0)
	for _, s := range all {
		total += s.Bytes
	}
	slices.SortStableFunc(all, func(a, b Segment) int {
		if a.Server == b.Server {
			return cmp.Compare(a.Number, b.Number)
		}
		return a.Ended.Compare(b.Ended)
	})
	kept := map[string]bool{} // servers of which a segment stays
	for _, s := range all {
		old := k.For > 0 && now.Sub(s.Ended) > k.For
		if kept[s.Server] || !old && (k.Bytes == 0 || total <= k.Bytes) {
			kept[s.Server] = true
			continue
		}
		total -= s.Bytes
		gone = append(gone, s)
	}
	return gone
}

// remove says that a segment is gone: from then on nobody reads its events.
func (l *Ledger) remove(ctx context.Context, s Segment) error {
	return l.Update(ctx, func(t *Txn) error {
		var r removed
		if _, err := t.View.Load(tableSegments, removedKey(s.Server), &r); err != nil || r.Number >= s.Number {
			return err
		}
		if !t.View.Has(tableSegments, segmentKey(s.Server, s.Number)) {
			return fmt.Errorf("segment %d: %w", s.Number, ErrNotFound)
		}
		if err := t.Save(tableSegments, removedKey(s.Server), removed{s.Number, time.Now().UTC()}); err != nil {
			return err
		}
		detail := fmt.Sprintf("segment %d, events %d to %d", s.Number, s.Start+1, s.End)
		if s.Server != "" {
			detail += " of server " + s.Server
		}
		return t.Note(Event{Event: "audit remove", Detail: detail})
	})
}

// sweep removes the events of removed segments; what was left when one was
// cut off, too.
func (l *Ledger) sweep(ctx context.Context) error {
	most := pruneRows
	if l.shared {
		most = pruneRowsShared
	}
	var next []byte
	for {
		var keys [][]byte
		err := l.Read(func(v View) error {
			bases, err := v.bases()
			last := uint64(0)
			for _, s := range bases {
				last = max(last, s.Last)
			}
			if err != nil || last <= l.swept.Load() && next == nil {
				return err
			}
			v.r.Scan(tableAudit, next, func(key, _ []byte) bool {
				seq, server, ok := eventAt(key)
				if ok && seq <= bases[server].Last {
					keys = append(keys, bytes.Clone(key))
				}
				next = append(bytes.Clone(key), 0)
				return len(keys) < most && seq <= last
			})
			if len(keys) == 0 {
				l.swept.Store(last)
			}
			return nil
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		err = l.Update(ctx, func(t *Txn) error {
			for _, key := range keys {
				if err := t.tx.Delete(tableAudit, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
