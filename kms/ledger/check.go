package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Checked is what a check of the database counted.
type Checked struct {
	Epoch   uint64 `json:"epoch"`
	Records int    `json:"records"`
	Events  uint64 `json:"audit_events"`
	Head    Head   `json:"audit_head"`

	position Position
}

// Position is where the database was checked.
func (c Checked) Position() Position { return c.position }

// A Head is the audit log's end, signed with the KMS' key: kept elsewhere,
// it shows later that nothing before it was changed.
type Head struct {
	Hash      string `json:"hash"`
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

// head signs "lk1/audit-head" ‖ number of events ‖ hash.
func (l *Ledger) head(st whole) Head {
	signed := binary.BigEndian.AppendUint64([]byte("lk1/audit-head"), st.events)
	signature := ed25519.Sign(l.Signing()[0], append(signed, st.auditHash[:]...))
	return Head{hex.EncodeToString(st.auditHash[:]), l.Pins()[0].String(), hex.EncodeToString(signature)}
}

// Check verifies every sealed record, that none is missing or older than
// the state, the audit log, and the high-water mark.
func (l *Ledger) Check() (Checked, error) {
	c, _, err := l.check(View.readAll)
	return c, err
}

// CheckTail is Check, but of the audit log it verifies what no checkpoint
// covers yet. VerifySealed does the rest.
func (l *Ledger) CheckTail() (Checked, error) {
	c, left, err := l.check(View.readTail)
	l.leaves(left)
	return c, err
}

// check returns how many sealed events it left out.
func (l *Ledger) check(log func(View, whole) (*reading, error)) (c Checked, left uint64, err error) {
	mark, err := l.mark.Read()
	if err != nil {
		return c, 0, fmt.Errorf("reading the epoch's high-water mark: %w", err)
	}

	err = l.Read(func(v View) error {
		st, err := v.readState()
		if err != nil {
			return err
		}
		if st.behind(mark) {
			return fmt.Errorf("checking the epoch: %w (%v; mark: %v): was it restored from an old backup?", ErrRolledBack, st.position(), mark)
		}
		c.Epoch, c.Events, c.Head, c.position = st.epoch, st.events, l.head(st), st.position()
		if c.Records, err = v.verifyRecords(st); err != nil {
			return err
		}
		r, err := log(v, st)
		if err == nil {
			left = r.left
			_, err = r.read(v, 0)
		}
		return err
	})

	return c, left, err
}

// verifyRecords opens every record and compares the digest over all.
func (v View) verifyRecords(st whole) (n int, err error) {
	var set [32]byte
	v.r.Scan(tableMeta, nil, func(key, value []byte) bool {
		if v.l.counted(tableMeta, string(key)) {
			err = v.keys.count(&set, tableMeta, key, value)
		}
		return err == nil
	})
	if err != nil {
		return n, err
	}
	for _, table := range v.l.sealed() {
		v.r.Scan(table.name, nil, func(key, value []byte) bool {
			var epoch uint64
			var plain []byte
			if plain, epoch, err = v.keys.open(place{table.name, key, table.state(key)}, value); err != nil {
				return false
			}

			clear(plain)
			if epoch > st.epoch {
				err = fmt.Errorf("checking %s: %w: a record is newer than the database", table.name, ErrUnverified)
				return false
			}

			if err = v.keys.count(&set, table.name, key, value); err != nil {
				return false
			}
			backed := table == tableKeys && bytes.Equal(key, backedKey)
			if table != tableEnded && table != tableSegments && !backed { // they are about servers, the log, and copies
				n++
			}
			return true
		})
		if err != nil {
			return n, err
		}
	}

	if set != st.set {
		return n, fmt.Errorf("checking the records: %w: one was removed, or put back from an older copy", ErrUnverified)
	}
	return n, nil
}

// Restored makes a verified copy of an older database the current one: its
// epoch goes above the mark of the one that it replaces.
func (l *Ledger) Restored(ctx context.Context, mark uint64) (Checked, error) {
	err := l.Update(ctx, func(t *Txn) error {
		from := t.state.epoch
		t.state.epoch = max(t.state.epoch, mark)
		t.Bump()
		t.state.since = t.state.epoch
		for len(t.ended) < len(t.others) {
			if err := t.EndIdle(); err != nil {
				return err
			}
		}
		return t.Note(Event{Event: "restore", From: Who(ctx), Detail: fmt.Sprintf("from epoch %d, to %d", from, t.state.epoch)})
	})
	if err != nil {
		return Checked{}, err
	}
	return l.Check()
}
