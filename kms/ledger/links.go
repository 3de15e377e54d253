package ledger

import (
	"bytes"
	"errors"
	"fmt"

	"latchkey/kms/history"
)

// A ChainEnd is how far a server's chain of the audit log goes: the number of
// its last event, and the hash that covers all of them.
type ChainEnd struct {
	Seq  uint64       `json:"seq"`
	Hash history.Hash `json:"hash"`
}

// ErrCarried is a chain that does not go on where another ended.
var ErrCarried = errors.New("the audit log does not go on where it ended")

// Follow takes the next event of the chain, in the bytes that its hash
// covers. Only its number and its place are verified by that.
func (e ChainEnd) Follow(seq uint64, body []byte) (ChainEnd, error) {
	if seq <= e.Seq || !numbered(seq, body) {
		return e, fmt.Errorf("%w: event %d after %d", ErrCarried, seq, e.Seq)
	}
	return ChainEnd{seq, chain(e.Hash, body)}, nil
}

// ChainEnd is where this server's chain ends.
func (v View) ChainEnd() (ChainEnd, error) {
	st, err := v.readState()
	own := st.chains()[v.l.server]
	return ChainEnd{own.auditSeq, own.auditHash}, err
}

// Links calls f with this server's events after a number, in the bytes that
// the chain covers, until it returns false. Those that were removed are an
// error.
func (v View) Links(after uint64, f func(seq uint64, body []byte) bool) error {
	bases, err := v.bases()
	if err != nil {
		return err
	}
	if last := bases[v.l.server].Last; after < last {
		return fmt.Errorf("%w: events up to %d were removed from it", ErrCarried, last)
	}
	v.r.Scan(tableAudit, seqKey(after+1), func(key, value []byte) bool {
		seq, server, ok := eventAt(key)
		if !ok || len(value) < 32 {
			err = fmt.Errorf("reading the audit log: %w", ErrUnverified)
			return false
		}
		return server != v.l.server || f(seq, bytes.Clone(value[32:]))
	})
	return err
}
