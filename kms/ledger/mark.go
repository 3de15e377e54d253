package ledger

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/datafile"
)

// A Position is how far a database has come. Where several servers share it,
// each has come so far.
type Position struct {
	Epoch  uint64 // rises with every change of what is to be given to whom
	Events uint64 // of the audit log, which rise with every release, too
	Since  uint64 // epoch in which it was restored
	Server string // name of the server whose mark this is
	Heads  string // NAME:CHANGES of each server, sorted, with commas between; empty where there is only one
}

// Before tells whether p is an older position, where one server writes. A
// later epoch is later whatever its events: a restored backup begins one.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Events < q.Events
}

func (p Position) String() string {
	if p.Heads == "" {
		return fmt.Sprintf("epoch %d, event %d", p.Epoch, p.Events)
	}
	return fmt.Sprintf("epoch %d, servers at %s", p.Epoch, p.Heads)
}

// onlyServer stands for the server that has no name.
const onlyServer = "-"

// writeHeads is how many changes each server has made, as a Position has it.
func writeHeads(heads map[string]uint64) string {
	if _, only := heads[""]; len(heads) == 0 || only && len(heads) == 1 {
		return ""
	}
	var all []string
	for server, n := range heads {
		all = append(all, fmt.Sprintf("%s:%d", cmp.Or(server, onlyServer), n))
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func readHeads(text string) (map[string]uint64, error) {
	heads := map[string]uint64{}
	for one := range strings.SplitSeq(text, ",") {
		server, count, _ := strings.Cut(one, ":")
		n, err := strconv.ParseUint(count, 10, 64)
		if raw, bad := hex.DecodeString(server); err != nil || server != onlyServer && (bad != nil || len(raw) != serverSize) {
			return nil, fmt.Errorf("%.40q is no server and its changes", one)
		}
		heads[strings.TrimPrefix(server, onlyServer)] = n
	}
	return heads, nil
}

// position is where the database is, as its heads say.
func (w whole) position() Position {
	p := Position{Epoch: w.epoch, Events: w.events, Since: w.since}
	p.Heads = writeHeads(w.reached().heads)
	return p
}

// behind tells whether the database is older than a mark of it: a server
// has not come as far, and was not restored since.
func (w whole) behind(mark Position) bool {
	if mark.Heads == "" {
		return w.position().Before(mark)
	}
	if w.since > mark.Epoch {
		return false
	}
	heads, err := readHeads(mark.Heads)
	if err != nil || w.since != mark.Since || w.epoch < mark.Epoch {
		return true
	}
	now := w.chains()
	for server, n := range heads {
		if now[server].seq < n {
			return true
		}
	}
	return false
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

// A MarkFile keeps the high-water mark in a file: epoch and events; where
// servers share the store, also since, server and heads.
type MarkFile string

// Read implements Mark. A mark that is not there is an error: it is written
// when a KMS is initialized.
func (m MarkFile) Read() (p Position, err error) {
	b, err := os.ReadFile(string(m))
	if err != nil {
		return p, err
	}
	words := strings.Fields(string(b))
	if len(words) < 1 || len(words) > 5 {
		return p, fmt.Errorf("reading %s: not a mark", string(m))
	}
	for i, to := range []*uint64{&p.Epoch, &p.Events, &p.Since} {
		if i >= len(words) {
			return p, nil
		}
		if *to, err = strconv.ParseUint(words[i], 10, 64); err != nil {
			return Position{}, fmt.Errorf("reading %s: %.20q is no number", string(m), words[i])
		}
	}
	if len(words) > 3 {
		p.Server = strings.TrimPrefix(words[3], onlyServer)
		if raw, err := hex.DecodeString(p.Server); err != nil || len(raw) != 0 && len(raw) != serverSize {
			return Position{}, fmt.Errorf("reading %s: %.20q is no server's name", string(m), words[3])
		}
	}
	if len(words) > 4 {
		p.Heads = words[4]
		if _, err := readHeads(p.Heads); err != nil {
			return Position{}, fmt.Errorf("reading %s: %w", string(m), err)
		}
	}
	return p, nil
}

// Write implements Mark: whole or not at all. The file is its directory's
// owner's.
func (m MarkFile) Write(p Position) error {
	text := fmt.Appendf(nil, "%d %d", p.Epoch, p.Events)
	if p.Server != "" || p.Heads != "" {
		text = fmt.Appendf(text, " %d %s %s", p.Since, cmp.Or(p.Server, onlyServer), p.Heads)
	}
	return datafile.Write(string(m), text)
}

// A reached is how far servers have come, as far as somebody has seen it.
type reached struct {
	since, epoch, events uint64
	heads                map[string]uint64 // changes of each, by name
	ended                []string          // servers that are gone
}

func (w whole) reached() reached {
	r := reached{since: w.since, epoch: w.epoch, events: w.events, heads: map[string]uint64{}}
	for _, h := range w.heads {
		r.heads[h.server] = h.seq
	}
	return r
}

// reached is how far the transaction leads: the others' heads may be further.
func (t *Txn) reached() reached {
	r := whole{heads: t.others}.reached()
	r.since, r.epoch, r.events = t.state.since, t.state.epoch, t.state.events
	r.heads[t.state.server] = t.state.seq
	r.ended = t.ended
	return r
}

// marking is what is known of the mark.
type marking struct {
	raised Position          // what was written
	seen   Position          // what was read or written of the database
	heads  map[string]uint64 // of seen
	at     time.Time
	err    error // of the last try
}

// see takes in how far the database has come. What is seen out of order
// leads back nowhere.
func (m *marking) see(r reached, server string) {
	if m.heads == nil || r.since > m.seen.Since {
		m.heads = map[string]uint64{}
	}
	m.seen.Server = server
	m.seen.Since, m.seen.Epoch = max(m.seen.Since, r.since), max(m.seen.Epoch, r.epoch)
	if server == "" {
		m.seen.Events = max(m.seen.Events, r.events)
	}
	for one, n := range r.heads {
		m.heads[one] = max(m.heads[one], n)
	}
	for _, one := range r.ended {
		delete(m.heads, one)
	}
	m.seen.Heads = writeHeads(m.heads)
}

// raiseMark follows the database after a change is on disk, so that a crash
// between the two leaves the mark behind, never ahead. The change is done
// then, whatever becomes of the mark: a mark that cannot be written is
// logged, makes the server not ready, and is written with the next change.
func (l *Ledger) raiseMark(r reached, now bool) {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	l.marking.see(r, l.server)
	l.writeMark(now)
}

// writeMark writes what was seen, if that is due.
func (l *Ledger) writeMark(now bool) {
	m := &l.marking
	if m.raised == m.seen || !now && m.err == nil && m.seen.Epoch == m.raised.Epoch && time.Since(m.at) < markEvery {
		return
	}
	before := m.err
	if m.err = l.mark.Write(m.seen); m.err == nil {
		m.raised, m.at = m.seen, time.Now()
	} else if before == nil {
		l.log.Error("the change is done, but the high-water mark could not be written; it is tried again", "err", m.err)
	}
}

// MarkNow writes the mark if it is behind, and says why it could not.
func (l *Ledger) MarkNow() error {
	l.markMu.Lock()
	l.writeMark(true)
	l.markMu.Unlock()
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

// notBehind refuses a head of this server that is older than what this
// process has written: the database was put back under it. (Where others
// share the store, theirs are guarded.)
func (l *Ledger) notBehind(own state) error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	if seen := l.marking.heads[own.server]; own.seq < seen {
		return fmt.Errorf("reading the state record: %w (change %d; this server has made change %d)", ErrRolledBack, own.seq, seen)
	}
	return nil
}
