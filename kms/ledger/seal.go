package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"latchkey/kms/history"
)

// segmentEvents is how many events a segment has at most.
const segmentEvents = 10_000

// SealDue closes the segments that are due: those that are full, and those
// whose first event is older than a time; a time of zero: whatever there is.
// It returns the segments. In a store of an older format there are none.
func (l *Ledger) SealDue(ctx context.Context, age time.Duration) (done []Segment, err error) {
	var servers []string
	err = l.Read(func(v View) error { servers, err = v.sealing(); return err })
	for _, server := range servers {
		for err == nil {
			var one Segment
			if one, err = l.sealNext(ctx, server, age); one.End == one.Start {
				break
			}
			done = append(done, one)
		}
	}
	if err != nil {
		err = fmt.Errorf("sealing the audit log: %w", err)
	}
	return done, err
}

// sealing are the servers whose segments this one closes: it, those that are
// gone, and where no others share the store, all. In a store of an older
// format there are none.
func (v View) sealing() ([]string, error) {
	f, err := readFormat(v.r)
	if err != nil || f.Version < formatSegments {
		return nil, err
	}
	st, err := v.readState()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(st.serversOf(), func(server string) bool {
		alive := slices.ContainsFunc(st.heads, func(h state) bool { return h.server == server })
		return alive && v.l.shared && server != v.l.server // who writes seals its own
	}), nil
}

// sealNext closes one segment of a server, if one is due: the zero one if
// none is.
func (l *Ledger) sealNext(ctx context.Context, server string, age time.Duration) (s Segment, err error) {
	err = l.Read(func(v View) error {
		s, err = v.open(server, age)
		return err
	})
	if err != nil || s.End == s.Start {
		return Segment{}, err
	}
	err = l.Update(ctx, func(t *Txn) error {
		if t.View.Has(tableSegments, segmentKey(server, s.Number)) {
			return errSealed
		}
		return t.Save(tableSegments, segmentKey(server, s.Number), s)
	})
	if errors.Is(err, errSealed) {
		return Segment{}, nil
	}
	return s, err
}

// open gathers the next segment of a server; it is empty if none is due.
func (v View) open(server string, age time.Duration) (s Segment, err error) {
	st, err := v.readState()
	if err != nil {
		return s, err
	}
	before, err := v.newest(server)
	if err != nil {
		return s, err
	}
	head := st.chains()[server]
	if head.events <= before.End {
		return Segment{}, nil
	}
	s = Segment{Server: server, Number: before.Number + 1, Start: before.End, End: before.End, Before: before.Edge}
	tree, err := before.tree()
	if err != nil {
		return s, err
	}
	if err := v.gather(&s, &tree, before); err != nil {
		return s, err
	}
	if s.End-s.Start < v.l.segmentEvents && time.Since(s.Began) < age {
		return Segment{}, nil
	}
	s.Edge = tree.Edge()
	head.since = st.since
	s.Checkpoint, err = history.Head{Origin: v.l.origin(head), Size: s.End, Root: tree.Root()}.Sign(v.l.Signing()[0])
	return s, err
}

// gather reads the events of an open segment, and verifies their chain.
func (v View) gather(s *Segment, tree *history.Tree, before Segment) error {
	at := before.end()
	var failed error
	v.r.Scan(tableAudit, seqKey(at.auditSeq+1), func(key, value []byte) bool {
		seq, server, ok := eventAt(key)
		if ok && server != s.Server {
			return true
		}
		if failed = at.follow(seq, ok, value); failed != nil {
			return false
		}
		event := body(value)
		tree.Add(event)
		if s.Ended, failed = timeOf(event); failed != nil {
			return false
		}
		if s.End == s.Start {
			s.First, s.Began = seq, s.Ended
		}
		s.End++
		s.Bytes += uint64(len(event))
		return s.End-s.Start < v.l.segmentEvents
	})
	s.Last, s.Chain = at.auditSeq, at.auditHash
	return failed
}
