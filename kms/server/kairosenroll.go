package server

import (
	"time"

	"latchkey/kms"
	"latchkey/kms/server/kairos"
)

// maxTofu bounds the nodes that are approved at first sight: a key in
// software is a node too.
const maxTofu = 10_000

// kairosAdmit makes a row for a node seen for the first time, or says why
// not.
func (s *Server) kairosAdmit(t *txn, p *kairos.Proof) (kairosRow, kairos.Reason, error) {
	if s.enroll == Closed || s.enroll == Cert { // its nodes show no certificate that can be checked
		return kairosRow{}, kairos.NotEnrolled, nil
	}
	row := kairosRow{Hash: p.Hash, State: statePending, First: time.Now().UTC()}
	if s.enroll == Tofu && t.count(tableKairosNodes, maxTofu) < maxTofu {
		row.State = stateApproved
		t.bump()
		return row, 0, nil
	}
	full, err := s.pruneKairos(t)
	if err != nil {
		return row, 0, err
	}
	if full {
		return row, kairos.Pending, nil
	}
	return row, 0, nil
}

// count counts a table's records, up to a limit.
func (v view) count(table string, limit int) (n int) {
	v.Scan(table, nil, func(_, _ []byte) bool { n++; return n < limit })
	return n
}

// pruneKairos is prunePending for the nodes of Kairos.
func (s *Server) pruneKairos(t *txn) (full bool, err error) {
	n := t.count(tableKairosPending, maxPending)
	now := s.cookies.now()
	if last := time.Duration(s.kairosPruned.Load()); last != 0 && now-last < pruneEvery {
		return n >= maxPending, nil
	}
	s.kairosPruned.Store(int64(now))
	var over []kms.NodeID
	err = t.kairosIn(tableKairosPending, func(row kairosRow) {
		if time.Since(row.First) > pendingLife || n >= maxPending && time.Since(row.Last) > idlePending {
			over = append(over, row.Hash)
		}
	})
	if len(over) > pruneRows { // the next newcomer goes on
		over = over[:pruneRows]
		s.kairosPruned.Store(0)
	}
	for _, hash := range over {
		if err == nil {
			err = t.remove(tableKairosPending, hash[:])
		}
	}
	return n-len(over) >= maxPending, err
}

func (v view) kairosIn(table string, f func(kairosRow)) (err error) {
	v.Scan(table, nil, func(key, _ []byte) bool {
		var row kairosRow
		if _, err = v.load(table, key, &row); err == nil {
			f(row)
		}
		return err == nil
	})
	return err
}
