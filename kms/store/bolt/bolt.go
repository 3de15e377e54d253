// Package bolt keeps a KMS' state in one file, with bbolt: a copy-on-write
// B+ tree that survives power cuts at any point.
package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"latchkey/kms/store"
)

// ErrInUse is a database that another process has open.
var ErrInUse = errors.New("the database is in use by another process")

// lockWait is how long Open waits for another process to let go.
const lockWait = time.Second

// ErrReplaced is a database whose file was moved, removed or replaced while
// it is open: what is written goes to a file that nobody finds again.
var ErrReplaced = errors.New("the database's file is not the one that was opened")

// A DB is a store in one file.
type DB struct {
	db     *bbolt.DB
	path   string
	file   os.FileInfo // as opened
	tables []string
	logs   []string
	wrote  uint64 // the last transaction; 0: none, so that the file is as it was opened
	queue  chan *job
	done   chan struct{}

	mu     sync.RWMutex // guards closed against queueing
	closed bool
}

// Open opens the database at path, which must exist unless create is set,
// and must not if it is. The tables are created as needed. Of these, logs
// only grow: after a clean end they are verified when they are read.
func Open(path string, create bool, tables []string, logs ...string) (*DB, error) {
	return open(path, create, false, tables, logs)
}

// OpenAnyMode is Open of a database on a file system that gives all files
// one mode, such as a share: who may write to it is not seen there.
func OpenAnyMode(path string, create bool, tables []string, logs ...string) (*DB, error) {
	return open(path, create, true, tables, logs)
}

func open(path string, create, anyMode bool, tables, logs []string) (*DB, error) {
	if err := checkFile(path, create, anyMode); err != nil {
		return nil, err
	}
	if !create {
		if err := verifyFile(path, logs); err != nil {
			return nil, fmt.Errorf("opening %s: %w", path, err)
		}
	}

	inner, err := openFile(path)
	if err != nil {
		return nil, err
	}

	file, err := os.Stat(path)
	if err != nil {
		inner.Close()
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	d := &DB{db: inner, path: path, file: file, tables: tables, logs: logs, queue: make(chan *job, 4096), done: make(chan struct{})}
	if err := d.prepare(); err != nil {
		inner.Close()
		return nil, err
	}

	go d.commit()
	return d, nil
}

func checkFile(path string, create, anyMode bool) error {
	info, err := os.Lstat(path)
	switch {
	case create && err == nil:
		return fmt.Errorf("creating %s: %w", path, fs.ErrExist)
	case create:
		return nil
	case err != nil:
		return fmt.Errorf("opening the database: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("opening %s: not a regular file", path)
	case info.Mode().Perm()&0o077 != 0 && !anyMode:
		return fmt.Errorf("opening %s: others may read or write it; make it mode 0600", path)
	}
	return nil
}

// openFile turns bbolt's panics on a damaged file into errors.
func openFile(path string) (db *bbolt.DB, err error) {
	defer recoverDamage(&err)
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockWait, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true,
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("opening %s: %w", path, ErrInUse)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("opening %s: %w: %w", path, store.ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return db, nil
}

// verifyFile walks the tree while nobody else can change it.
func verifyFile(path string, logs []string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()

	for start := time.Now(); ; time.Sleep(lockWait / 20) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Since(start) > lockWait {
			return ErrInUse
		}
	}

	info, err := f.Stat()
	if err != nil {
		return err
	}
	var skip []string
	if closedClean(path, f, info.Size()) {
		skip = logs
	}
	return verify(f, info.Size(), skip)
}

// prepare makes the tables.
func (d *DB) prepare() (err error) {
	defer recoverDamage(&err)
	missing := false
	err = d.db.View(func(tx *bbolt.Tx) error {
		missing = slices.ContainsFunc(d.tables, func(t string) bool { return tx.Bucket([]byte(t)) == nil })
		return nil
	})
	if err != nil || !missing {
		return err
	}
	return d.write(func(tx *bbolt.Tx) error {
		for _, t := range d.tables {
			if _, err := tx.CreateBucketIfNotExists([]byte(t)); err != nil {
				return err
			}
		}
		return nil
	})
}

// recoverDamage: the file is mapped into memory, so a short or damaged one
// shows as a fault.
func recoverDamage(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", store.ErrDamaged, p)
	}
}

// inPlace makes sure that the file is still where it was opened.
func (d *DB) inPlace() error {
	now, err := os.Stat(d.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	if !os.SameFile(d.file, now) {
		return fmt.Errorf("%w: %s was replaced; start the key server again", ErrReplaced, d.path)
	}
	return nil
}

// mostFree is how many free pages are written with each transaction: more of
// them cost it more than they spare the next start.
const mostFree = 2048

// write is a transaction of bbolt, which is remembered.
func (d *DB) write(f func(*bbolt.Tx) error) error {
	s := d.db.Stats()
	d.db.NoFreelistSync = s.FreePageN+s.PendingPageN > mostFree
	var id int
	err := d.db.Update(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return f(tx)
	})
	if err == nil {
		d.wrote = uint64(id)
	}
	return err
}

// View implements store.Store.
func (d *DB) View(f func(store.Reader) error) (err error) {
	defer recoverDamage(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return d.db.View(func(tx *bbolt.Tx) error { return f(reader{tx}) })
}

// Backup implements store.Store.
func (d *DB) Backup(w io.Writer) error {
	return d.db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

// Close waits for the updates under way.
func (d *DB) Close() error {
	d.mu.Lock()
	already := d.closed
	d.closed = true
	d.mu.Unlock()
	if already {
		return nil
	}
	close(d.queue)
	<-d.done
	if d.wrote != 0 && d.inPlace() == nil {
		d.closeClean()
	}
	return d.db.Close()
}

// Update implements store.Store.
func (d *DB) Update(ctx context.Context, f func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{f: f, done: make(chan error, 1)}
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return errors.New("the database is closed")
	}
	d.queue <- j
	d.mu.RUnlock()
	return <-j.done // never abandoned: the caller must know what was written
}

// reader is a bbolt transaction that reads.
type reader struct{ tx *bbolt.Tx }

func (r reader) Get(table string, key []byte) []byte {
	return r.tx.Bucket([]byte(table)).Get(key)
}

func (r reader) Scan(table string, from []byte, f func(key, value []byte) bool) {
	c := r.tx.Bucket([]byte(table)).Cursor()
	for k, v := c.Seek(from); k != nil && f(k, v); k, v = c.Next() {
	}
}

// writer is a bbolt transaction that writes.
type writer struct {
	reader
	logs []string
}

// fillLog is how full pages get to which rows are only added at the end.
const fillLog = 0.95

func (w writer) Put(table string, key, value []byte) error {
	b := w.tx.Bucket([]byte(table))
	if slices.Contains(w.logs, table) {
		b.FillPercent = fillLog
	}
	return b.Put(bytes.Clone(key), value)
}

func (w writer) Delete(table string, key []byte) error {
	return w.tx.Bucket([]byte(table)).Delete(key)
}
