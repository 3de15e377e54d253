package ledger

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/datafile"
)

// A Position is how far a database has come.
type Position struct {
	Epoch  uint64 // rises with every change of what is to be given to whom
	Events uint64 // of the audit log, which rise with every release, too
}

// Before tells whether p is an older position. A later epoch is later
// whatever its events: a restored backup begins one.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Events < q.Events
}

// A Mark is the high-water mark of a database. It is kept apart from it, so
// that an old copy of the database is noticed.
type Mark interface {
	Read() (Position, error)
	Write(Position) error
}

// markEvery is how often the mark is written for events that change nothing
// of what is given to whom: a release waits for no second write to the disk.
// So much of the audit log may be missing from an old copy unnoticed.
const markEvery = 10 * time.Second

// ErrRolledBack is a database older than the high-water mark.
var ErrRolledBack = errors.New("the database is older than the last change made to it")

// A MarkFile keeps the high-water mark in a file: epoch and events.
type MarkFile string

// Read implements Mark. A mark that is not there is an error: it is written
// when a KMS is initialized.
func (m MarkFile) Read() (p Position, err error) {
	b, err := os.ReadFile(string(m))
	if err != nil {
		return p, err
	}
	epoch, events, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	if p.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil && events != "" {
		p.Events, err = strconv.ParseUint(events, 10, 64)
	}
	if err != nil {
		return Position{}, fmt.Errorf("reading %s: not two numbers", string(m))
	}
	return p, nil
}

// Write implements Mark: whole or not at all. The file is its directory's
// owner's.
func (m MarkFile) Write(p Position) error {
	return datafile.Write(string(m), fmt.Appendf(nil, "%d %d", p.Epoch, p.Events))
}

// marking is what is known of the mark.
type marking struct {
	raised Position // what was written
	seen   Position // what was read or written of the database
	at     time.Time
	err    error // of the last try
}

// position is the state's.
func (s state) position() Position { return Position{s.epoch, s.auditSeq} }

// raiseMark follows the database after a change is on disk, so that a crash
// between the two leaves the mark behind, never ahead. The change is done
// then, whatever becomes of the mark: a mark that cannot be written is
// logged, makes the server not ready, and is written with the next change.
func (l *Ledger) raiseMark(p Position, now bool) {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	m := &l.marking
	if m.seen.Before(p) {
		m.seen = p
	}
	if !m.raised.Before(p) || !now && m.err == nil && p.Epoch == m.raised.Epoch && time.Since(m.at) < markEvery {
		return
	}
	before := m.err
	if m.err = l.mark.Write(p); m.err == nil {
		m.raised, m.at = p, time.Now()
	} else if before == nil {
		l.log.Error("the change is done, but the high-water mark could not be written; it is tried again", "err", m.err)
	}
}

// MarkNow writes the mark if it is behind, and says why it could not.
func (l *Ledger) MarkNow() error {
	l.markMu.Lock()
	seen := l.marking.seen
	l.markMu.Unlock()
	l.raiseMark(seen, true)
	return l.marked()
}

// marked says why the mark could not be written.
func (l *Ledger) marked() error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	if l.marking.err != nil {
		return fmt.Errorf("writing the high-water mark: %w", l.marking.err)
	}
	return nil
}

// notBehind refuses a state that is older than what this process has seen:
// the database was put back under it.
func (l *Ledger) notBehind(st state) error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	p, seen := st.position(), l.marking.seen
	if l.shared { // of the rest the store is guarded; an update on an older view conflicts, and is done again
		seen.Events = 0
	}
	if p.Before(seen) {
		return fmt.Errorf("reading the state record: %w (epoch %d, event %d; this server has seen epoch %d, event %d)", ErrRolledBack, p.Epoch, p.Events, seen.Epoch, seen.Events)
	}
	return nil
}
