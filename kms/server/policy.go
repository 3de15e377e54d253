package server

import (
	"encoding/hex"
	"slices"
	"time"

	"latchkey/kms"
)

// Bounds of the table of nodes that nobody approved yet.
const (
	maxPending  = 1000
	pendingLife = 24 * time.Hour
	// idlePending may make room when the table is full: a node that waits
	// asks again within half a minute.
	idlePending = 10 * time.Minute
)

// policy decides on a proof that holds, and records what it decided.
func (s *Server) policy(t *txn, p *proof) (*kms.Decision, error) {
	row, found, err := t.node(p.node)
	if err != nil {
		return nil, err
	}
	before := row
	d := &kms.Decision{}
	if found {
		d.Status = row.judge(p)
	} else {
		d.Status, err = s.admit(t, p, &row)
		found = d.Status == kms.Pending
	}
	if err != nil {
		return nil, err
	}
	if d.Status == kms.OK {
		if d.Volumes, err = t.serve(p); err != nil {
			return nil, err
		}
		row.Clock = p.clock
	}
	if found {
		if err := t.remember(p, row, d.Status); err != nil {
			return nil, err
		}
	}
	if d.Status == kms.Pending && len(p.offers) > 0 {
		if err := t.propose(p); err != nil {
			return nil, err
		}
	}
	if !found || d.Status != kms.OK && before.LastStatus == d.Status.Code() {
		return d, nil // asking again, or unknown: nothing new for the log, which must not be filled from outside
	}
	return d, t.note(p.event(d))
}

// judge says what a known node gets on the whole. Deny wins.
func (row *nodeRow) judge(p *proof) kms.Status {
	switch {
	case row.State == stateDeleted:
		return kms.Refused
	case row.State == statePending:
		return kms.Pending
	case row.Quarantined:
		return kms.Quarantined
	case p.operation == kms.Put || p.operation == kms.Enroll:
		return kms.OK // from a running system: the boot state is no matter
	case p.pcrs[latchPCR] != digest{}:
		return kms.PCR15Used
	case p.clock.before(row.Clock):
		return kms.TPMCleared
	}
	for pcr, want := range row.Pins {
		if p.pcrs[pcr] != want {
			return kms.PCRMismatch
		}
	}
	return kms.OK
}

// admit makes a pending row for a node seen for the first time.
func (s *Server) admit(t *txn, p *proof, row *nodeRow) (kms.Status, error) {
	if s.enroll == Closed {
		return kms.Refused, nil
	}
	full, err := s.prunePending(t)
	if err != nil {
		return 0, err
	}
	if full {
		return kms.TableFull, nil
	}
	*row = nodeRow{ID: p.node, State: statePending, First: time.Now().UTC()}
	return kms.Pending, nil
}

// remember keeps what the proof showed, for the operator.
func (t *txn) remember(p *proof, row nodeRow, status kms.Status) error {
	row.Last = time.Now().UTC()
	row.LastStatus = status.Code()
	seen := &shown{
		Operation: p.operation.String(), PCRs: p.pcrs, Clock: p.clock,
		Boot: (p.operation == kms.Get || p.operation == kms.Stage) && p.pcrs[latchPCR] == digest{},
	}
	for _, v := range p.volumes {
		seen.Volumes = append(seen.Volumes, shownVolume{v.UUID, v.Digest, v.SeqID})
	}
	row.Shown = seen
	return t.saveNode(row)
}

// pruneEvery is how often the table is looked through for rows that are
// over: a flood must not make every newcomer cost a thousand rows.
const pruneEvery = time.Minute

// pruneRows is how many of them go in one transaction: stores bound those.
const pruneRows = 8

// prunePending removes the rows that nobody approved in time, and, when the
// table is full, those that stopped asking. It tells whether it still is.
func (s *Server) prunePending(t *txn) (full bool, err error) {
	n := 0
	t.Scan(tablePending, nil, func(_, _ []byte) bool { n++; return n < maxPending })
	now := s.cookies.now()
	if last := time.Duration(s.pruned.Load()); last != 0 && now-last < pruneEvery {
		return n >= maxPending, nil
	}
	s.pruned.Store(int64(now))
	rows, err := t.pendingRows()
	if err != nil {
		return false, err
	}
	done := 0
	for _, row := range rows {
		if done == pruneRows { // the next newcomer goes on
			s.pruned.Store(0)
			break
		}
		if time.Since(row.First) < pendingLife && (n < maxPending || time.Since(row.Last) < idlePending) {
			continue
		}
		if err := t.forget(row.ID); err != nil {
			return false, err
		}
		n--
		done++
	}
	return n >= maxPending, nil
}

func (v view) pendingRows() (rows []nodeRow, err error) {
	return rows, v.nodesIn(tablePending, func(row nodeRow) { rows = append(rows, row) })
}

// forget removes a pending row with what it proposed.
func (t *txn) forget(id kms.NodeID) error {
	for _, uuid := range t.uuidsOf(id) {
		if err := t.dropVolume(id, uuid); err != nil {
			return err
		}
	}
	return t.remove(tablePending, id[:])
}

// uuidsOf lists the volumes that have a row under a node.
func (v view) uuidsOf(id kms.NodeID) (uuids []kms.UUID) {
	v.Scan(tableVolumes, id[:], func(key, _ []byte) bool {
		if len(key) != 48 || kms.NodeID(key[:32]) != id {
			return false
		}
		uuids = append(uuids, kms.UUID(key[32:]))
		return true
	})
	return uuids
}

// event is the audit line of a decision.
func (p *proof) event(d *kms.Decision) Event {
	e := Event{Event: p.operation.String(), Node: p.node.String(), Status: d.Status.Code(), From: p.from, TH2: hex.EncodeToString(p.th2[:])}
	for _, v := range p.volumes {
		i := slices.IndexFunc(d.Volumes, func(g kms.Granted) bool { return g.UUID == v.UUID })
		if d.Status == kms.OK && i >= 0 && d.Volumes[i].Status != kms.OK {
			e.Detail += v.UUID.String() + " " + d.Volumes[i].Status.Code() + "; "
		}
		e.Volumes = append(e.Volumes, v.UUID)
	}
	return e
}
