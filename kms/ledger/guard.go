package ledger

import (
	"bytes"
	"encoding/binary"
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
	to, err := l.follows(s)
	if err == nil {
		l.raiseMark(to, false)
		return nil
	}
	l.log.Error("nothing is released: the store was changed by somebody who is no key server of this KMS; restore it, and start the key servers again", "err", err)
	l.wrote(err)
	return err
}

// follows tells whether a step leads from one sealed state to a later one,
// row by row.
func (l *Ledger) follows(s store.Step) (at Position, err error) {
	before, after := View{s.Before, l}, View{s.After, l}
	from, err := before.readState()
	if err != nil {
		return at, err
	}
	to, err := after.readState()
	if err != nil {
		return at, err
	}
	if to.epoch < from.epoch || to.auditSeq < from.auditSeq {
		return at, fmt.Errorf("following the store: %w (epoch %d after %d, event %d after %d)", ErrRolledBack, to.epoch, from.epoch, to.auditSeq, from.auditSeq)
	}

	if s.Rows == nil {
		if _, err := after.verifyRecords(to); err != nil {
			return at, err
		}
		return to.position(), after.verifyAuditFrom(from, to)
	}
	if err := l.foldRows(before, s.Rows, from, to); err != nil {
		return at, err
	}
	return to.position(), l.foldEvents(s.Rows, from, to)
}

// foldRows takes what was there before out of the digest, and what is there
// now in.
func (l *Ledger) foldRows(before View, rows []store.Row, from, to state) error {
	set := from.set
	for _, row := range rows {
		key := []byte(row.Key)
		if row.Table == tableMeta && bytes.Equal(key, keySigning) {
			// It is in no digest, but says in which epoch it was written.
			if len(row.Value) < 9 || binary.BigEndian.Uint64(row.Value[1:]) <= from.epoch {
				return fmt.Errorf("following the store: %w: older signing keys were put back", ErrRolledBack)
			}
		}
		table := l.tables[row.Table]
		if table == nil || table.kind == Passing {
			continue
		}
		if table.kind != Log { // a log only grows: what is put there is new
			if old := before.r.Get(row.Table, key); old != nil {
				xor(&set, l.vault.digest(row.Table, key, old))
			}
		}
		if row.Value != nil {
			xor(&set, l.vault.digest(row.Table, key, row.Value))
		}
	}
	if set != to.set {
		return fmt.Errorf("following the store: %w: a record was removed, or put back from an older copy", ErrUnverified)
	}
	return nil
}

// foldEvents walks the part of the audit log that was added.
func (l *Ledger) foldEvents(rows []store.Row, from, to state) error {
	var added []store.Row
	for _, row := range rows {
		if row.Table == tableAudit {
			added = append(added, row)
		}
	}
	slices.SortFunc(added, func(a, b store.Row) int { return strings.Compare(a.Key, b.Key) })
	seq, last := from.auditSeq, from.auditHash
	var news []Event
	for _, row := range added {
		seq++
		if row.Key != string(seqKey(seq)) || len(row.Value) < 32 || chain(last, row.Value[32:]) != [32]byte(row.Value[:32]) {
			return fmt.Errorf("following the store: %w: event %d of the audit log was edited or removed", ErrUnverified, seq)
		}
		last = [32]byte(row.Value[:32])
		var e Event
		if json.Unmarshal(row.Value[32:], &e) == nil {
			news = append(news, e)
		}
	}
	if seq != to.auditSeq || last != to.auditHash {
		return fmt.Errorf("following the store: %w: the audit log ends at event %d, not %d", ErrUnverified, seq, to.auditSeq)
	}
	if !l.ours(to) {
		l.news.tell(news, true)
	}
	return nil
}

// ours tells whether a state is what this server wrote last: it may be told
// of its own steps.
func (l *Ledger) ours(st state) bool {
	last := l.wroteLast.Load()
	return last != nil && last.auditSeq >= st.auditSeq
}
