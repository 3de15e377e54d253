package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"latchkey/kms/store"
)

// guard judges what others did to a store that several key servers share. A
// key server adds to what is there; who writes an older state back, whole or
// in part, takes something away that was decided since. Nothing is given out
// by such a state, by no server.
func (l *Ledger) guard(s store.Step) error {
	at, err := l.follows(s)
	if err == nil {
		l.raiseMark(at, false)
		return nil
	}
	l.log.Error("nothing is released: the store was changed by somebody who is no key server of this KMS; restore it, and start the key servers again", "err", err)
	l.wrote(err)
	return err
}

// follows tells whether a step leads from one sealed state to a later one,
// row by row: one server's head moves on, by what is in the step.
func (l *Ledger) follows(s store.Step) (reached, error) {
	before, after := l.view(s.Before), l.view(s.After)
	if err := l.followsKeys(before, after); err != nil {
		return reached{}, fmt.Errorf("following the store: %w", err)
	}
	after = l.view(s.After)
	if s.Rows == nil {
		return l.followsAnew(before, after)
	}
	m, err := l.moved(before, after, s.Rows)
	if err != nil {
		return reached{}, fmt.Errorf("following the store: %w", err)
	}
	if err := l.foldRows(before, after, s.Rows, m); err != nil {
		return reached{}, fmt.Errorf("following the store: %w", err)
	}
	if err := l.foldEvents(after, s.Rows, m); err != nil {
		return reached{}, fmt.Errorf("following the store: %w", err)
	}
	return m.reached(), nil
}

// followsAnew judges a state that was read anew.
func (l *Ledger) followsAnew(before, after View) (reached, error) {
	from, err := before.readState()
	if err != nil {
		return reached{}, err
	}
	to, err := after.readState()
	if err != nil {
		return reached{}, err
	}
	if to.behind(from.position()) {
		return reached{}, fmt.Errorf("following the store: %w (%v after %v)", ErrRolledBack, to.position(), from.position())
	}
	if _, err := after.verifyRecords(to); err != nil {
		return reached{}, err
	}
	return to.reached(), after.verifyAuditFrom(from, to)
}

// A move is what one transaction does to the heads.
type move struct {
	from, to state   // the one that was written; the same if none was
	ended    []state // those that it takes over
}

func (m move) reached() reached {
	r := reached{since: m.to.since, epoch: m.to.epoch, events: m.to.events, heads: map[string]uint64{}}
	if m.to.seq > 0 {
		r.heads[m.to.server] = m.to.seq
	}
	for _, h := range m.ended {
		r.ended = append(r.ended, h.server)
	}
	return r
}

// moved finds the head that moved. It moves forward, and no other one does:
// one that is removed was taken over, and says so.
func (l *Ledger) moved(before, after View, rows []store.Row) (m move, err error) {
	wrote := false
	for _, row := range rows {
		server, is := serverOf([]byte(row.Key))
		if row.Table != tableMeta || !is {
			continue
		}
		old, found, err := before.head(server)
		if err != nil {
			return m, err
		}
		switch {
		case row.Value == nil && found:
			m.ended = append(m.ended, old)
			continue
		case row.Value == nil:
			continue
		case wrote:
			return m, fmt.Errorf("%w: two servers' heads were put at once", ErrUnverified)
		}
		wrote = true
		if m.to, err = after.openState(server, []byte(row.Value)); err != nil {
			return m, err
		}
		if m.from = old; !found {
			if m.from, err = before.beginning(server); err != nil {
				return m, err
			}
			m.from.since = m.to.since
		}
	}
	if m.to.seq < m.from.seq || wrote && m.to.seq == m.from.seq || m.to.epoch < m.from.epoch || m.to.since != m.from.since {
		return m, fmt.Errorf("%w (server %q: change %d after %d, epoch %d after %d)", ErrRolledBack, m.to.server, m.to.seq, m.from.seq, m.to.epoch, m.from.epoch)
	}
	return m, nil
}

// beginning is where a server that has no head goes on.
func (v View) beginning(server string) (state, error) {
	sealed := v.r.Get(tableEnded.name, []byte(server))
	if sealed == nil {
		return state{server: server}, nil
	}
	return v.openEnded(server, sealed)
}

// counted tells whether a row is in the digest over all records.
func (l *Ledger) counted(table, key string) bool {
	if table == tableMeta {
		_, head := serverOf([]byte(key))
		return !head
	}
	t := l.tables[table]
	return t != nil && t.kind != Passing
}

// foldRows takes what was there before out of the digest, and what is there
// now in: that, with what was of the heads taken over, is how the head that
// moved changed its own.
func (l *Ledger) foldRows(before, after View, rows []store.Row, m move) error {
	set := m.from.set
	if err := recount(&set, before, after, rows); err != nil {
		return err
	}
	for _, h := range m.ended {
		xor(&set, h.set)
		at := slices.IndexFunc(rows, func(r store.Row) bool { return r.Table == tableEnded.name && r.Key == h.server })
		if at < 0 || rows[at].Value == nil {
			return fmt.Errorf("%w: the head of server %q was removed", ErrUnverified, h.server)
		}
		end, err := after.openEnded(h.server, rows[at].Value)
		if err != nil || end.seq != h.seq || end.events != h.events || end.auditHash != h.auditHash {
			return fmt.Errorf("%w: the head of server %q was removed", ErrUnverified, h.server)
		}
	}
	for _, row := range rows {
		key := []byte(row.Key)
		if !l.counted(row.Table, row.Key) {
			continue
		}
		// A log only grows: what is put there is new, or sealed again.
		if t := l.tables[row.Table]; t == nil || t.kind != Log || before.keys.row.replacing() != 0 {
			if old := before.r.Get(row.Table, key); old != nil {
				if err := before.keys.count(&set, row.Table, key, old); err != nil {
					return err
				}
			}
		}
		if row.Value != nil {
			if err := after.keys.count(&set, row.Table, key, row.Value); err != nil {
				return err
			}
		}
	}
	if set != m.to.set {
		return fmt.Errorf("%w: a record was removed, or put back from an older copy", ErrUnverified)
	}
	return nil
}

// foldEvents walks the part of the audit log that was added. What was
// removed is of segments that are sealed, and said to be removed.
func (l *Ledger) foldEvents(after View, rows []store.Row, m move) error {
	var added []store.Row
	var bases map[string]Segment
	for _, row := range rows {
		switch {
		case row.Table != tableAudit:
		case row.Value != nil:
			added = append(added, row)
		default:
			if bases == nil {
				var err error
				if bases, err = after.bases(); err != nil {
					return err
				}
			}
			if seq, server, ok := eventAt([]byte(row.Key)); !ok || seq > bases[server].Last {
				return fmt.Errorf("%w: event %d was removed", ErrUnverified, seq)
			}
		}
	}
	slices.SortFunc(added, func(a, b store.Row) int { return strings.Compare(a.Key, b.Key) })
	w := walk{m.to.server: m.from}
	var news []Event
	for _, row := range added {
		if err := w.next([]byte(row.Key), row.Value); err != nil {
			return err
		}
		var e Event
		if json.Unmarshal(row.Value[32:], &e) == nil {
			news = append(news, e)
		}
	}
	if err := w.ends(map[string]state{m.to.server: m.to}); err != nil {
		return err
	}
	if m.to.server != l.server {
		l.news.tell(news, true)
	}
	return nil
}
