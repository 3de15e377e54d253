package fleet

import (
	"sync/atomic"
	"time"

	"latchkey/kms/ledger"
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

// A room bounds a table of those that nobody approved yet. Its times are on
// the ledger's clock.
type room struct {
	looked    atomic.Int64 // when it was looked through
	fullUntil atomic.Int64 // it is taken for full, without counting
}

// A Waiter is how long a machine in it waits.
type Waiter struct {
	First, Last time.Time // when it came, and asked last
}

// Full makes room for one more that waits: it removes the rows that nobody
// approved in time and, when the table is full, those that stopped asking.
// It tells whether the table still is full. Now is on the ledger's clock.
func (f *Fleet[R]) Full(t *ledger.Txn, now time.Duration, forget func(key []byte) error) (full bool, err error) {
	w := &f.room
	if now < time.Duration(w.fullUntil.Load()) {
		return true, nil
	}
	defer func() {
		if full && err == nil {
			w.fullUntil.Store(int64(now + fullFor))
		}
	}()

	n := f.Pending(t.View)
	if last := time.Duration(w.looked.Load()); last != 0 && now-last < pruneEvery {
		return n >= maxPending, nil
	}

	w.looked.Store(int64(now))
	over, err := f.over(t.View, n)
	if err != nil {
		return false, err
	}
	if len(over) > pruneRows { // the next newcomer goes on
		w.looked.Store(0)
		over = over[:pruneRows]
	}
	for _, key := range over {
		if err := forget(key); err != nil {
			return false, err
		}
	}

	return n-len(over) >= maxPending, nil
}

// over are the keys of the rows, n in all, whose time to wait is over.
func (f *Fleet[R]) over(v ledger.View, n int) (keys [][]byte, err error) {
	err = each(v, f.pending, func(row R) error {
		w := row.Waiting()
		if time.Since(w.First) < pendingLife && (n < maxPending || time.Since(w.Last) < idlePending) {
			return nil
		}
		n--
		keys = append(keys, row.Key())
		return nil
	})
	return keys, err
}
