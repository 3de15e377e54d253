// Package mirror makes a store of a service that keeps rows elsewhere, for
// several key servers at once. Each holds a copy of all rows in memory and
// follows the service; an update runs on the copy and is written if what it
// read is still so, else it runs again on what is there then. So an update
// costs one round trip, however much it reads, and several that wait share
// it.
package mirror

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/kms/store"
)

// Errors of a Remote.
var (
	// ErrConflict is a write that came too late: somebody else has written.
	ErrConflict = errors.New("somebody else has written meanwhile")
	// ErrLost is a history that cannot be followed on: load again.
	ErrLost = errors.New("the history since then is gone")
	// ErrUnknown is a write of which nobody can tell whether it was done.
	ErrUnknown = errors.New("the store did not say whether it was written")
)

// A Version counts what was written, over all that write. It only rises.
type Version int64

// A Change is a row put, or removed if Value is nil.
type Change = store.Row

// A Remote is the service. Every write moves its version, and is refused if
// what it read has changed since: that is all that isolation rests on.
type Remote interface {
	// Load reads all rows of the tables, as of one version.
	Load(ctx context.Context, tables []string) (Version, []Change, error)
	// Head asks for the newest version: at least that of any write that was
	// answered before.
	Head(ctx context.Context) (Version, error)
	// Commit writes, all or nothing, if what was read at a version is still
	// so. It returns ErrConflict if not, and with it the newest version seen;
	// ErrUnknown if it cannot find out. Without changes it only looks.
	Commit(ctx context.Context, at Version, reads Reads, changes []Change) (Written, error)
	// Follow reports each later version in order, until it breaks. Version
	// zero is what somebody wrote past the protocol, who is no key server.
	Follow(ctx context.Context, after Version, report func(Version, []Change)) error
	// Get and Scan read a table that is not kept in memory, as of a version.
	// (In an update they may read what is newer: the update will not commit.)
	Get(ctx context.Context, at Version, table, key string) ([]byte, error)
	Scan(ctx context.Context, at Version, table, from string, f func(key string, value []byte) bool) error
	// Fits tells whether one request carries so much, and Narrow whether it
	// compares so many reads one by one: else Commit takes any write of
	// others for a conflict.
	Fits(changes, sizeBytes int) bool
	Narrow(reads int) bool
	Close() error
}

// A Config says what is in the store.
type Config struct {
	Tables  []string // all of them
	Logs    []string // of these, those that only grow: not kept in memory
	Passing []string // of these, those whose rows live for minutes: not in backups

	// Wait bounds how long an update or a view waits for the service; zero
	// is five seconds.
	Wait time.Duration
	// Quiet is how long no other server has written if this one takes itself
	// for the only one; zero is a second, less is never.
	Quiet time.Duration
}

// A DB is a store. Close it to let its remote go.
type DB struct {
	remote Remote
	c      Config
	queue  chan *job
	done   chan struct{}
	stop   context.CancelFunc
	life   context.Context
	group  sync.WaitGroup

	mu    sync.Mutex
	now   state
	other time.Time     // when another server's write was seen last
	moved chan struct{} // closed when now has changed
	guard func(store.Step) error
	bad   error // what the guard said

	closing sync.RWMutex // guards closed against queueing
	closed  bool

	commits, conflicts, compared, written atomic.Uint64
}

// Counts implements store.Counter.
func (d *DB) Counts() store.Counts {
	return store.Counts{Commits: d.commits.Load(), Conflicts: d.conflicts.Load(), Compared: d.compared.Load(), Written: d.written.Load()}
}

// A state is all rows at one version.
type state struct {
	version Version
	tables  map[string]tree // never changed in place
}

// with is the state after changes; tables that it does not hold are left
// out.
func (s state) with(v Version, changes []Change) state {
	next := state{v, make(map[string]tree, len(s.tables))}
	for name, t := range s.tables {
		next.tables[name] = t
	}

	for _, c := range changes {
		t, held := next.tables[c.Table]
		switch {
		case !held:
		case c.Value == nil:
			next.tables[c.Table] = t.drop(c.Key)
		default:
			next.tables[c.Table] = t.put(c.Key, c.Value, cmp.Or(Version(c.At), v))
		}
	}

	return next
}

// Open reads the whole of it. The DB owns the remote from then on, also if
// this fails.
func Open(ctx context.Context, remote Remote, c Config) (*DB, error) {
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	if c.Quiet == 0 {
		c.Quiet = time.Second
	}
	d := &DB{remote: remote, c: c, queue: make(chan *job, 4096), done: make(chan struct{}), moved: make(chan struct{})}
	if err := d.load(ctx); err != nil {
		remote.Close()
		return nil, err
	}
	d.life, d.stop = context.WithCancel(context.Background())
	go d.commit()
	d.group.Go(d.follow)
	return d, nil
}

// load begins anew from the service.
func (d *DB) load(ctx context.Context) error {
	var held []string
	for _, t := range d.c.Tables {
		if !slices.Contains(d.c.Logs, t) {
			held = append(held, t)
		}
	}

	before, _ := d.current()
	v, rows, err := d.remote.Load(ctx, held)
	if err != nil {
		return err
	}

	empty := state{tables: map[string]tree{}}
	for _, t := range held {
		empty.tables[t] = tree{}
	}
	return d.take(before, empty.with(v, rows), nil)
}

// install makes a state the current one, unless a later one is there.
func (d *DB) install(s state) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.version > d.now.version || d.now.tables == nil {
		d.now = s
		close(d.moved)
		d.moved = make(chan struct{})
	}
}

func (d *DB) current() (state, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now, d.moved
}

// View implements store.Store.
func (d *DB) View(f func(store.Reader) error) error {
	if d.life.Err() != nil {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(d.life, d.c.Wait)
	s, err := d.fresh(ctx)
	cancel()
	if err != nil {
		return d.explain(err)
	}
	return safely(func() error { return f(&reader{d: d, ctx: d.life, state: s}) })
}

// explain: an error of a context that ended because of Close says so.
func (d *DB) explain(err error) error {
	if d.life.Err() != nil {
		return errClosed
	}
	return err
}

// Update implements store.Store.
func (d *DB) Update(ctx context.Context, f func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{ctx: ctx, f: f, done: make(chan error, 1)}
	d.closing.RLock()
	if d.closed {
		d.closing.RUnlock()
		return errClosed
	}
	d.queue <- j
	d.closing.RUnlock()
	return <-j.done // never abandoned: the caller must know what was written
}

// Close waits for the updates under way.
func (d *DB) Close() error {
	d.closing.Lock()
	already := d.closed
	d.closed = true
	d.closing.Unlock()
	if already {
		return nil
	}
	close(d.queue)
	<-d.done
	d.stop()
	d.group.Wait()
	return d.remote.Close()
}
