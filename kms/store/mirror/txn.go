package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"latchkey/kms/store"
)

// A failure is an error of the service on its way out of a Reader, whose
// methods return none.
type failure struct{ err error }

// safely turns a failure, and any other panic of f, into an error.
func safely(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.err
		default:
			err = fmt.Errorf("running a transaction: %v", p)
		}
	}()
	return f()
}

// reader is a view of one state.
type reader struct {
	d     *DB
	ctx   context.Context
	state state
}

// Get implements store.Reader.
func (r *reader) Get(table string, key []byte) []byte {
	if t, held := r.state.tables[table]; held {
		value, _ := t.get(string(key))
		return value
	}
	value, err := r.d.remote.Get(r.ctx, r.state.version, table, string(key))
	if err != nil {
		panic(failure{err})
	}
	return value
}

// Scan implements store.Reader.
func (r *reader) Scan(table string, from []byte, f func(key, value []byte) bool) {
	each := func(key string, value []byte) bool { return f([]byte(key), value) }
	if t, held := r.state.tables[table]; held {
		t.scan(string(from), each)
		return
	}
	if err := r.d.remote.Scan(r.ctx, r.state.version, table, string(from), each); err != nil {
		panic(failure{err})
	}
}

// A writer is what a group of updates does to a state.
type writer struct {
	reader
	reads   reads
	changes tree     // by table, zero byte, key; a value of nil is a removal
	count   int      // of changes
	size    int      // of changes, in bytes
	gone    []string // tables from which something is removed: the service may say so for each
}

// fork is the same again: what is done to the one, the other does not see.
func (w *writer) fork() *writer {
	next := *w
	next.state.tables = make(map[string]tree, len(w.state.tables))
	for name, t := range w.state.tables {
		next.state.tables[name] = t
	}
	return &next
}

// Glance implements store.Glancer.
func (w *writer) Glance() store.Reader { return glance{w} }

// glance reads what a writer reads, and notes nothing.
type glance struct{ w *writer }

// Get implements store.Reader.
func (g glance) Get(table string, key []byte) []byte {
	value, _ := g.w.look(table, string(key))
	return value
}

// Scan implements store.Reader.
func (g glance) Scan(table string, from []byte, f func(key, value []byte) bool) {
	g.w.walk(table, from, f)
}

// Get implements store.Reader.
func (w *writer) Get(table string, key []byte) []byte {
	done := w.outside(table)
	value, own := w.look(table, string(key))
	done()
	if own {
		return value
	}
	if t, held := w.state.tables[table]; !held {
		w.reads.scan(Range{table, string(key), string(key) + "\x00"}, 1)
	} else if k := t.find(string(key)); k != nil {
		w.reads.row(table, string(key), k.at)
	} else {
		w.reads.row(table, string(key), 0)
	}
	return value
}

// look is what stands there; own: because it was written here.
func (w *writer) look(table, key string) (value []byte, own bool) {
	if value, own = w.changes.get(table + "\x00" + key); own {
		return value, true
	}
	return w.reader.Get(table, []byte(key)), false
}

// Scan implements store.Reader. What was read is all up to where f ended.
func (w *writer) Scan(table string, from []byte, f func(key, value []byte) bool) {
	read, rows := Range{Table: table, From: string(from)}, 0
	done := w.outside(table)
	w.walk(table, from, func(key, value []byte) bool {
		rows++
		going := f(key, value)
		if !going {
			read.To = string(key) + "\x00"
		}
		return going
	})
	done()
	w.reads.scan(read, rows)
}

// outside begins to read: what cannot be read, where the table is not held,
// may be so because others wrote; until done is called it rests on all.
func (w *writer) outside(table string) (done func()) {
	_, held := w.state.tables[table]
	before := w.reads.doubt
	w.reads.doubt = before || !held
	return func() { w.reads.doubt = before }
}

// walk is Scan: where the table is not held, what stands in the service and
// what was written here, together in order.
func (w *writer) walk(table string, from []byte, f func(key, value []byte) bool) {
	if _, held := w.state.tables[table]; held {
		w.reader.Scan(table, from, f)
		return
	}

	own := &merge{w: w, table: table, next: string(from), f: f, going: true}
	w.reader.Scan(table, from, func(key, value []byte) bool {
		own.upTo(string(key))
		if _, written := w.changes.get(table + "\x00" + string(key)); own.going && !written {
			own.going = f(key, value)
		}
		return own.going
	})

	if own.going {
		own.upTo("")
	}
}

// merge gives the rows that a writer has written, between others.
type merge struct {
	w     *writer
	table string
	next  string // the first key not given yet
	f     func(key, value []byte) bool
	going bool
}

// upTo gives those below a key; all of them if it is empty.
func (m *merge) upTo(limit string) {
	prefix := m.table + "\x00"
	m.w.changes.scan(prefix+m.next, func(at string, value []byte) bool {
		key, mine := strings.CutPrefix(at, prefix)
		if !mine || limit != "" && key >= limit {
			return false
		}
		m.next = key + "\x00"
		m.going = value == nil || m.f([]byte(key), value)
		return m.going
	})
}

// Put implements store.Tx.
func (w *writer) Put(table string, key, value []byte) error {
	w.change(table, string(key), append([]byte{}, value...))
	return nil
}

// Delete implements store.Tx. It rests on nothing: not on that there is such
// a row either.
func (w *writer) Delete(table string, key []byte) error {
	w.change(table, string(key), nil)
	return nil
}

// perChange is what a request spends on a change beside its bytes, at most.
const perChange = 128

func (w *writer) change(table, key string, value []byte) {
	if value == nil && !slices.Contains(w.gone, table) {
		w.gone = append(w.gone[:len(w.gone):len(w.gone)], table)
	}
	if t, held := w.state.tables[table]; held && value == nil {
		w.state.tables[table] = t.drop(key)
	} else if held {
		w.state.tables[table] = t.put(key, value, 0)
	}
	at := table + "\x00" + key
	if old, again := w.changes.get(at); again {
		w.size -= len(old)
	} else {
		w.count++
		w.size += len(at) + perChange
	}
	w.size += len(value)
	w.changes = w.changes.put(at, value, 0)
}

// list is all that was changed, in order.
func (w *writer) list() (all []Change) {
	w.changes.scan("", func(at string, value []byte) bool {
		table, key, _ := strings.Cut(at, "\x00")
		all = append(all, Change{Table: table, Key: key, Value: value})
		return true
	})
	return all
}

// tooLarge says of how much an update consists.
func (w *writer) tooLarge() error {
	return fmt.Errorf("%w: it writes %d rows with %d bytes; do it in parts", store.ErrTooLarge, w.count, w.size)
}
