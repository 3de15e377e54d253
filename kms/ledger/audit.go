package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"latchkey/kms"
)

// An Event is one line of the audit log. It holds no secret.
type Event struct {
	Seq     uint64     `json:"seq"`
	Time    time.Time  `json:"time"`
	Event   string     `json:"event"`
	Node    string     `json:"node,omitempty"`
	Volumes []kms.UUID `json:"volumes,omitempty"`
	Status  string     `json:"status,omitempty"`
	Reason  string     `json:"reason,omitempty"` // the rule that decided it; the node is not told
	From    string     `json:"from,omitempty"`   // address of who asked, or the admin's command
	Detail  string     `json:"detail,omitempty"`
	TH2     string     `json:"th2,omitempty"` // the challenge that was redeemed
}

// Note appends an event to the log. Each one's hash covers the one before,
// and the last is in the sealed state: an edit anywhere shows.
func (t *Txn) Note(e Event) error {
	t.state.auditSeq++
	e.Seq, e.Time = t.state.auditSeq, time.Now().UTC()
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding an audit event: %w", err)
	}
	t.noted = append(t.noted, e)
	t.state.auditHash = chain(t.state.auditHash, body)
	return t.tx.Put(tableAudit, seqKey(e.Seq), append(t.state.auditHash[:], body...))
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

// Events calls f with the log from one sequence number on.
func (v View) Events(from uint64, f func(Event) bool) error {
	var failed error
	v.r.Scan(tableAudit, seqKey(from), func(_, value []byte) bool {
		var e Event
		if len(value) < 32 || json.Unmarshal(value[32:], &e) != nil {
			failed = fmt.Errorf("reading the audit log: %w", ErrUnverified)
			return false
		}
		return f(e)
	})
	return failed
}

// verifyAudit walks the whole chain and compares its end with the state.
func (v View) verifyAudit(st state) error { return v.verifyAuditFrom(state{}, st) }

// verifyAuditFrom walks the chain from the end that an earlier state had.
func (v View) verifyAuditFrom(from, st state) error {
	seq, last := from.auditSeq, from.auditHash
	var failed error
	v.r.Scan(tableAudit, seqKey(seq+1), func(key, value []byte) bool {
		seq++
		if string(key) != string(seqKey(seq)) || len(value) < 32 || chain(last, value[32:]) != [32]byte(value[:32]) {
			failed = fmt.Errorf("checking the audit log: %w: event %d was edited, or one before it removed", ErrUnverified, seq)
			return false
		}
		last = [32]byte(value[:32])
		return true
	})

	if failed == nil && (seq != st.auditSeq || last != st.auditHash) {
		failed = fmt.Errorf("checking the audit log: %w: it ends at event %d, not %d", ErrUnverified, seq, st.auditSeq)
	}
	return failed
}
