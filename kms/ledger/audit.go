package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"latchkey/kms"
)

// An Event is one line of the audit log. It holds no secret.
type Event struct {
	Seq     uint64     `json:"seq"` // rises with each event of a server, and over all that it has seen of others
	Time    time.Time  `json:"time"`
	Event   string     `json:"event"`
	Node    string     `json:"node,omitempty"`
	Volumes []kms.UUID `json:"volumes,omitempty"`
	Status  string     `json:"status,omitempty"`
	Reason  string     `json:"reason,omitempty"` // the rule that decided it; the node is not told
	From    string     `json:"from,omitempty"`   // address of who asked, or the admin's command
	Detail  string     `json:"detail,omitempty"`
	TH2     string     `json:"th2,omitempty"`    // the challenge that was redeemed
	Server  string     `json:"server,omitempty"` // which of the key servers that share the store
}

// Note appends an event to the log. Each one's hash covers the one before
// of the same server, and the last is in its sealed head: an edit anywhere
// shows.
func (t *Txn) Note(e Event) error {
	t.state.auditSeq++
	t.state.events++
	e.Seq, e.Time, e.Server = t.state.auditSeq, time.Now().UTC(), t.state.server
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding an audit event: %w", err)
	}
	t.noted = append(t.noted, e)
	t.state.auditHash = chain(t.state.auditHash, body)
	return t.tx.Put(tableAudit, eventKey(e.Seq, e.Server), append(t.state.auditHash[:], body...))
}

func chain(before [32]byte, body []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte("lk1/audit"))
	h.Write(before[:])
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// eventKey is where an event stands: by number, then by server.
func eventKey(seq uint64, server string) []byte {
	raw, err := hex.DecodeString(server)
	if err != nil {
		panic(err) // it is ours
	}
	return append(seqKey(seq), raw...)
}

// eventAt is the opposite.
func eventAt(key []byte) (seq uint64, server string, ok bool) {
	if len(key) != 8 && len(key) != 8+serverSize {
		return 0, "", false
	}
	return binary.BigEndian.Uint64(key), hex.EncodeToString(key[8:]), true
}

// Events calls f with the log from one sequence number on. Servers that
// write at once may give out one number twice, and one that has not heard of
// the others a lower one late.
func (v View) Events(from uint64, f func(Event) bool) error {
	bases, failed := v.bases()
	if failed != nil {
		return failed
	}
	v.r.Scan(tableAudit, seqKey(from), func(key, value []byte) bool {
		if seq, server, _ := eventAt(key); seq <= bases[server].Last {
			return true // it is being removed
		}
		var e Event
		if len(value) < 32 || json.Unmarshal(value[32:], &e) != nil {
			failed = fmt.Errorf("reading the audit log: %w", ErrUnverified)
			return false
		}
		return f(e)
	})
	return failed
}

// A walk follows the chains of all servers through the log.
type walk map[string]state

// next takes one event: it must follow the one before of its server.
func (w walk) next(key, value []byte) error {
	seq, server, ok := eventAt(key)
	at := w[server]
	if err := at.follow(seq, ok, value); err != nil {
		return err
	}
	w[server] = at
	return nil
}

// numbered tells whether an event says its number: what the chain covers
// cannot stand elsewhere then.
func numbered(seq uint64, body []byte) bool {
	return bytes.HasPrefix(body, append(strconv.AppendUint([]byte(`{"seq":`), seq, 10), ','))
}

// follow takes the next event of a chain.
func (s *state) follow(seq uint64, ok bool, value []byte) error {
	if !ok || len(value) < 32 || chain(s.auditHash, value[32:]) != [32]byte(value[:32]) || !numbered(seq, value[32:]) {
		return fmt.Errorf("%w: event %d was edited, or one before it removed", ErrUnverified, seq)
	}
	s.events, s.auditSeq, s.auditHash = s.events+1, seq, [32]byte(value[:32])
	return nil
}

// ends compares where the chains ended with what the heads say.
func (w walk) ends(want map[string]state) error {
	for server, at := range w {
		if end := want[server]; at.events != end.events || at.auditHash != end.auditHash || at.auditSeq > end.auditSeq {
			return fmt.Errorf("%w: it ends at event %d, not %d", ErrUnverified, at.auditSeq, end.auditSeq)
		}
	}
	for server, end := range want {
		if _, walked := w[server]; !walked && end.events > 0 {
			return fmt.Errorf("%w: the %d events of server %q are missing", ErrUnverified, end.events, server)
		}
	}
	return nil
}

// verifyAuditFrom walks the chains from the ends that an earlier state had,
// or from where removed segments end.
func (v View) verifyAuditFrom(from, st whole) error {
	old, now := from.chains(), st.chains()
	bases, err := v.bases()
	if err != nil {
		return err
	}
	for server, s := range bases {
		if base := s.end(); base.events > old[server].events {
			old[server] = base
		}
	}
	first := st.auditSeq + 1
	for server, end := range now {
		if before := old[server]; before.events != end.events || before.auditHash != end.auditHash {
			first = min(first, before.auditSeq+1)
		}
	}

	w := walk(maps.Clone(old))
	var failed error
	v.r.Scan(tableAudit, seqKey(first), func(key, value []byte) bool {
		if seq, server, ok := eventAt(key); ok && seq <= old[server].auditSeq {
			return true
		}
		failed = w.next(key, value)
		return failed == nil
	})
	if failed == nil {
		failed = w.ends(now)
	}
	if failed != nil {
		return fmt.Errorf("checking the audit log: %w", failed)
	}
	return nil
}
