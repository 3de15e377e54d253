package ledger

import (
	"errors"
	"fmt"

	"latchkey/kms/history"
)

// Proven is an event of the audit log and the proof that a checkpoint covers
// it.
type Proven struct {
	Event string `json:"event"` // exactly as it was logged: a line of JSON
	Proof string `json:"proof"` // C2SP tlog-proof
}

// Prove proves that the event of a sequence number is in the log. Where
// servers share the store one number may have several events: server says
// whose, "" for the only one that there is.
func (l *Ledger) Prove(seq uint64, server string) (p Proven, err error) {
	err = l.Read(func(v View) error {
		s, err := v.holding(seq, server)
		if err != nil {
			return fmt.Errorf("proving event %d: %w", seq, err)
		}
		before, err := history.Grown(s.Start, s.Before)
		if err != nil {
			return fmt.Errorf("proving event %d: %w: %w", seq, ErrUnverified, err)
		}
		span, index := history.From(before), s.Start
		err = v.eventsOf(s, func(n uint64, event []byte) error {
			if n == seq {
				index, p.Event = before.Size(), string(event)
			}
			before.Add(event)
			return span.Add(event)
		})
		if err != nil {
			return fmt.Errorf("proving event %d: %w", seq, err)
		}
		proof := history.Proof{Event: []byte(p.Event), Index: index, Checkpoint: s.Checkpoint}
		if proof.Hashes, err = span.Inclusion(index); err != nil {
			return fmt.Errorf("proving event %d: %w", seq, err)
		}
		p.Proof = proof.String()
		return nil
	})
	return p, err
}

// holding finds the segment that has an event.
func (v View) holding(seq uint64, server string) (found Segment, err error) {
	var stands []string // servers that have one of this number
	v.r.Scan(tableAudit, seqKey(seq), func(key, _ []byte) bool {
		n, of, ok := eventAt(key)
		if ok && n == seq && (server == "" || of == server) {
			stands = append(stands, of)
		}
		return n == seq
	})
	switch {
	case len(stands) == 0:
		return found, fmt.Errorf("%w: it was never logged, or it was removed, then an archive has it", ErrNotFound)
	case len(stands) > 1:
		return found, fmt.Errorf("%w: servers %q have one of this number; say which with --of", ErrAmbiguous, stands)
	}
	all, err := v.Segments()
	if err != nil {
		return found, err
	}
	for _, s := range all {
		if s.Server == stands[0] && s.First <= seq && seq <= s.Last {
			if s.Removed {
				return s, fmt.Errorf("%w: it was removed, an archive has it", ErrNotFound)
			}
			return s, nil
		}
	}
	return found, fmt.Errorf("%w: no checkpoint covers it yet; make one with: latchkey-kms audit seal", ErrRefused)
}

// eventsOf calls f with the events of a segment that is kept, verified.
func (v View) eventsOf(s Segment, f func(seq uint64, event []byte) error) error {
	at := state{server: s.Server, events: s.Start}
	if s.Number > 1 {
		before, err := v.segment(s.Server, s.Number-1)
		if err != nil {
			return err
		}
		at = before.end()
	}
	var failed error
	v.r.Scan(tableAudit, seqKey(s.First), func(key, value []byte) bool {
		seq, server, ok := eventAt(key)
		if ok && server != s.Server {
			return true
		}
		if failed = at.follow(seq, ok, value); failed == nil {
			failed = f(seq, body(value))
		}
		return failed == nil && at.events < s.End
	})
	if failed == nil && at.auditHash != s.end().auditHash {
		failed = fmt.Errorf("%w: %w: segment %d", ErrUnverified, history.ErrTruncated, s.Number)
	}
	return failed
}

// Segment reads a sealed segment's events as they were logged.
func (l *Ledger) Segment(server string, number uint64, f func(event []byte) error) error {
	return l.Read(func(v View) error {
		s, err := v.segment(server, number)
		if err != nil {
			return err
		}
		bases, err := v.bases()
		if err != nil {
			return err
		}
		if bases[server].Number >= number {
			return fmt.Errorf("segment %d of the audit log: %w: its events were removed", number, ErrNotFound)
		}
		return v.eventsOf(s, func(_ uint64, event []byte) error { return f(event) })
	})
}

// A ServerLog is the audit log of one server.
type ServerLog struct {
	Server string `json:"server,omitempty"` // which of those that share the store
	Key    string `json:"key"`              // as witnesses take it: C2SP signed-note
	Events uint64 `json:"events"`           // that it ever had
	Sealed uint64 `json:"sealed"`           // of these, those that a checkpoint covers
	Gone   uint64 `json:"removed"`          // of these, those that were removed
}

// Logs are those of all servers that ever wrote, by name.
func (l *Ledger) Logs() (all []ServerLog, err error) {
	err = l.Read(func(v View) error {
		st, err := v.readState()
		if err != nil {
			return err
		}
		bases, err := v.bases()
		for _, server := range st.serversOf() {
			last, bad := v.newest(server)
			key, none := v.logKey(state{server: server, since: st.since})
			if err := errors.Join(err, bad, none); err != nil {
				return err
			}
			all = append(all, ServerLog{server, key, st.chains()[server].events, last.End, bases[server].End})
		}
		return err
	})
	return all, err
}
