package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"latchkey/kms/history"
)

// A Witness cosigns checkpoints.
type Witness interface {
	Name() string
	// Cosigned finds a line of the witness that verifies, and its time.
	Cosigned(checkpoint, lines string) (line string, at time.Time, err error)
	// Ask returns the line to add, or a *history.Behind if the log that the
	// witness saw last has not the size old.
	Ask(ctx context.Context, checkpoint string, old uint64, proof []tlog.Hash) (line string, err error)
}

// ErrAhead is a witness that has seen more of the log than there is: the
// database was put back, or another one has its name and key.
var ErrAhead = errors.New("a witness has seen more events than the log has")

// Cosign has a witness cosign the newest checkpoints that it has not, of this
// server and of those that are gone. It returns how many it cosigned.
func (l *Ledger) Cosign(ctx context.Context, w Witness) (n int, err error) {
	var newest []Segment
	err = l.Read(func(v View) error {
		servers, err := v.sealing()
		if err != nil {
			return err
		}
		for _, server := range servers {
			s, err := v.newest(server)
			if err != nil {
				return err
			}
			if _, _, err := w.Cosigned(s.Checkpoint, s.Checkpoint); s.Number > 0 && err != nil {
				newest = append(newest, s)
			}
		}
		return nil
	})
	for _, s := range newest {
		if err == nil {
			err = l.cosign(ctx, w, s)
		}
		if err == nil {
			n++
		}
	}
	return n, err
}

// cosign asks from the size on that the witness cosigned last, as far as we
// know; it may know better.
func (l *Ledger) cosign(ctx context.Context, w Witness, s Segment) error {
	old, err := l.cosignedLast(w, s)
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		proof, err := l.consistency(s, old)
		if err != nil {
			return fmt.Errorf("asking the witness %s: %w", w.Name(), err)
		}
		line, err := w.Ask(ctx, s.Checkpoint, old, proof)
		if behind, ok := errors.AsType[*history.Behind](err); ok && tries < 2 {
			if behind.Size > s.End {
				return fmt.Errorf("asking the witness %s: %w (%d, and %d)", w.Name(), ErrAhead, behind.Size, s.End)
			}
			old = behind.Size
			continue
		}
		if err != nil {
			return err
		}
		return l.addCosignature(ctx, s, line)
	}
}

// addCosignature keeps a line beside those of other witnesses.
func (l *Ledger) addCosignature(ctx context.Context, s Segment, line string) error {
	return l.Update(ctx, func(t *Txn) error {
		now, err := t.View.segment(s.Server, s.Number)
		if err != nil || strings.Contains(now.Checkpoint, line) {
			return err
		}
		now.Checkpoint += line
		return t.Save(tableSegments, segmentKey(s.Server, s.Number), now)
	})
}

// cosignedLast is the size of the newest checkpoint of a server that a
// witness cosigned.
func (l *Ledger) cosignedLast(w Witness, s Segment) (size uint64, err error) {
	err = l.Read(func(v View) error {
		all, err := v.Segments()
		for _, one := range all {
			if _, _, bad := w.Cosigned(one.Checkpoint, one.Checkpoint); bad == nil && one.Server == s.Server {
				size = max(size, one.End)
			}
		}
		return err
	})
	return size, err
}

// consistency proves that the log at the end of a segment begins with the log
// of a size.
func (l *Ledger) consistency(to Segment, size uint64) (proof []tlog.Hash, err error) {
	if size == 0 || size == to.End {
		return nil, nil
	}
	err = l.Read(func(v View) error {
		all, err := v.Segments()
		if err != nil {
			return err
		}
		var span *history.Span // from the last checkpoint at or before that size on
		for _, s := range all {
			if s.Server != to.Server || s.End <= size || s.End > to.End {
				continue
			}
			if s.Removed {
				return fmt.Errorf("%w: the events of segment %d were removed, and the witness has seen only %d", history.ErrRemoved, s.Number, size)
			}
			if span == nil {
				before, err := history.Grown(s.Start, s.Before)
				if err != nil {
					return fmt.Errorf("segment %d: %w: %w", s.Number, ErrUnverified, err)
				}
				span = history.From(before)
			}
			if err := v.eventsOf(s, func(_ uint64, event []byte) error { return span.Add(event) }); err != nil {
				return err
			}
		}
		proof, err = span.Consistency(size)
		return err
	})
	return proof, err
}
