package server

import (
	"sync/atomic"
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

// A waitingRoom bounds a table of those that nobody approved yet. Its times
// are on cookies.now's clock.
type waitingRoom struct {
	looked    atomic.Int64 // when it was looked through
	fullUntil atomic.Int64 // it is taken for full, without counting
}

// A waiter is a row in it.
type waiter struct {
	key         []byte
	first, last time.Time // when it came, and asked last
}

// prune removes the rows that nobody approved in time, and, when the table
// is full, those that stopped asking. It tells whether it still is.
func (w *waitingRoom) prune(t *txn, now time.Duration, table string, rows func() ([]waiter, error), forget func(key []byte) error) (full bool, err error) {
	if now < time.Duration(w.fullUntil.Load()) {
		return true, nil
	}
	defer func() {
		if full && err == nil {
			w.fullUntil.Store(int64(now + fullFor))
		}
	}()

	n := t.count(table, maxPending)
	if last := time.Duration(w.looked.Load()); last != 0 && now-last < pruneEvery {
		return n >= maxPending, nil
	}

	w.looked.Store(int64(now))
	all, err := rows()
	if err != nil {
		return false, err
	}

	done := 0
	for _, row := range all {
		if done == pruneRows { // the next newcomer goes on
			w.looked.Store(0)
			break
		}

		if time.Since(row.first) < pendingLife && (n < maxPending || time.Since(row.last) < idlePending) {
			continue
		}
		if err := forget(row.key); err != nil {
			return false, err
		}

		n--
		done++
	}

	return n >= maxPending, nil
}

func (s *Server) prunePending(t *txn) (full bool, err error) {
	rows := func() (all []waiter, err error) {
		return all, t.nodesIn(tablePending, func(row nodeRow) { all = append(all, waiter{row.ID[:], row.First, row.Last}) })
	}
	return s.pending.prune(t, s.cookies.now(), tablePending, rows, func(key []byte) error { return t.forget(kms.NodeID(key)) })
}

// count counts a table's records, up to a limit.
func (v view) count(table string, limit int) (n int) {
	v.Scan(table, nil, func(_, _ []byte) bool { n++; return n < limit })
	return n
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
