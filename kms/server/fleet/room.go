package fleet

import (
	"math/rand/v2"
	"slices"
	"sync"
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

// pruneRows is how many of them go in one transaction: stores bound those.
const pruneRows = 8

// A room bounds a table of those that nobody approved yet. Its times are on
// the ledger's clock.
type room struct {
	mu     sync.Mutex
	looked time.Duration       // when it was looked through; 0: never
	here   map[string][]string // by source: keys of the rows, as of then and what came since
}

// A Waiter is how long a machine in it waits, and from where it asks.
type Waiter struct {
	First, Last time.Time // when it came, and asked last
	From        string    // address
}

// perSource is how many machines of one source may wait: a quarter of the
// table.
const perSource = maxPending / 4

// Full makes room for one more that waits: it removes the rows that nobody
// approved in time and, when the table is full, those that stopped asking,
// or else any one of the source that has most of them. It tells whether
// there is none: the newcomer's own source has too many. A flood costs a
// newcomer no look at a thousand rows. Now is on the ledger's clock.
func (f *Fleet[R]) Full(t *ledger.Txn, now time.Duration, newcomer R, forget func(key []byte) error) (full bool, err error) {
	w := &f.room
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.here == nil || now-w.looked >= pruneEvery {
		if err := f.look(t.View, now, forget); err != nil {
			return false, err
		}
	}

	source := ledger.SourceOf(newcomer.Waiting().From)
	n, most := 0, source
	for other, keys := range w.here {
		n += len(keys)
		if len(keys) > len(w.here[most]) {
			most = other
		}
	}
	if len(w.here[source]) >= perSource || n >= maxPending && most == source {
		return true, nil
	}
	if n >= maxPending {
		keys := w.here[most]
		i := rand.IntN(len(keys))
		if err := forget([]byte(keys[i])); err != nil {
			return false, err
		}
		w.here[most] = slices.Delete(keys, i, i+1)
	}
	if key := string(newcomer.Key()); !slices.Contains(w.here[source], key) { // a transaction may run twice
		w.here[source] = append(w.here[source], key)
	}
	return false, nil
}

// leave forgets a machine that waits no longer.
func (w *room) leave(key []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for source, keys := range w.here {
		if i := slices.Index(keys, string(key)); i >= 0 {
			w.here[source] = slices.Delete(keys, i, i+1)
			return
		}
	}
}

// look looks through the table, and removes some of the rows whose time to
// wait is over.
func (f *Fleet[R]) look(v ledger.View, now time.Duration, forget func(key []byte) error) error {
	w := &f.room
	n := f.Pending(v)
	w.here, w.looked = map[string][]string{}, now
	var over [][]byte
	err := each(v.Glance(), f.pending, func(row R) error {
		wait := row.Waiting()
		if len(over) < pruneRows && (time.Since(wait.First) >= pendingLife || n >= maxPending && time.Since(wait.Last) >= idlePending) {
			n--
			over = append(over, row.Key())
			return nil
		}
		source := ledger.SourceOf(wait.From)
		w.here[source] = append(w.here[source], string(row.Key()))
		return nil
	})
	for _, key := range over {
		if err == nil {
			err = forget(key)
		}
	}
	if len(over) == pruneRows { // the next newcomer goes on
		w.looked = now - pruneEvery
	}
	return err
}
