package server

import (
	"time"

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

func (s *Server) pruneKairos(t *txn) (full bool, err error) {
	rows := func() (all []waiter, err error) {
		return all, t.kairosIn(tableKairosPending, func(row kairosRow) { all = append(all, waiter{row.Hash[:], row.First, row.Last}) })
	}
	return s.kairosPending.prune(t, s.cookies.now(), tableKairosPending, rows, func(key []byte) error { return t.remove(tableKairosPending, key) })
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
