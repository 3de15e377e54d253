package server

import (
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

// pruneEvery is how often the table is looked through for rows that are
// over: a flood must not make every newcomer cost a thousand rows.
const pruneEvery = time.Minute

// fullFor is how long a full table is taken for full without counting it: a
// flood must not make every stranger cost a look at a thousand rows.
const fullFor = time.Second

// pruneRows is how many of them go in one transaction: stores bound those.
const pruneRows = 8

// prunePending removes the rows that nobody approved in time, and, when the
// table is full, those that stopped asking. It tells whether it still is.
func (s *Server) prunePending(t *txn) (full bool, err error) {
	now := s.cookies.now()
	if now < time.Duration(s.fullUntil.Load()) {
		return true, nil
	}
	defer func() {
		if full && err == nil {
			s.fullUntil.Store(int64(now + fullFor))
		}
	}()
	n := t.count(tablePending, maxPending)
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
