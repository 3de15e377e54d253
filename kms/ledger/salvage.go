package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"latchkey/kms/store"
)

// Salvaged is what became of a damaged database.
type Salvaged struct {
	Kept    int    `json:"kept"`           // records that verify
	Dropped []Lost `json:"dropped"`        // records that do not, and are gone
	Events  uint64 `json:"audit_events"`   // in the log that is left
	Altered []Lost `json:"audit_altered"`  // events that were edited, removed or put in
	State   bool   `json:"state_was_lost"` // the state record was made anew
	Mixed   bool   `json:"mixed"`          // records verify one by one, but not as a whole: some may be older than they were
}

// Lost names a record.
type Lost struct {
	Table string `json:"table"`
	Key   string `json:"key"` // hex
}

// salvageRows is how many rows are changed at once: stores bound that.
const salvageRows = 64

// Salvage makes a database usable again of which a part cannot be verified:
// it keeps what does, lists the rest and records that in the audit log. The
// signing keys and the data key must be whole. No server may run on the
// store. Doing it again completes one that was cut off.
func Salvage(ctx context.Context, c Config) (s Salvaged, err error) {
	mark, err := c.Mark.Read()
	if err != nil {
		return s, fmt.Errorf("reading the epoch's high-water mark: %w", err)
	}
	l := &Ledger{store: c.Store, mark: c.Mark, log: slog.New(slog.DiscardHandler), tables: map[string]*Table{}, keyrings: map[string]*Keyring{}, observe: func(float64) {}}
	if err := l.register(c.Tables, c.Keyrings); err != nil {
		return s, err
	}
	if err := l.unlockDamaged(c); err != nil {
		return s, err
	}

	st := state{epoch: mark.Epoch}
	if err := l.salvageState(&s, &st); err != nil {
		return s, err
	}
	if err := l.salvageRecords(ctx, &s, &st); err != nil {
		return s, err
	}
	if err := l.salvageAudit(ctx, &s, &st); err != nil {
		return s, err
	}
	return s, l.finishSalvage(ctx, &s, st)
}

// unlockDamaged opens the keys, without which nothing can be verified.
func (l *Ledger) unlockDamaged(c Config) error {
	if c.Wrapping.Len() != 32 {
		return fmt.Errorf("opening the data key: %w", ErrWrappingKey)
	}
	return l.store.View(func(r store.Reader) error {
		dataKey, err := unwrap(c.Wrapping, r)
		if err != nil {
			return err
		}
		defer dataKey.Wipe()
		if l.vault, err = newVault(dataKey); err != nil {
			return err
		}
		seeds, _, err := l.vault.open(place{tableMeta, keySigning, 0}, r.Get(tableMeta, keySigning))
		clear(seeds)
		if err != nil {
			return fmt.Errorf("opening the signing keys: %w: only a backup has them", err)
		}
		return nil
	})
}

// salvageState takes from the state what only it knows: the epoch.
func (l *Ledger) salvageState(s *Salvaged, st *state) error {
	return l.Read(func(v View) error {
		old, err := v.readState()
		s.State = err != nil
		st.epoch = max(st.epoch, old.epoch)
		if err == nil {
			_, err = v.verifyRecords(old)
			s.Mixed = err != nil
		}
		return nil
	})
}

// salvageRecords removes what does not open.
func (l *Ledger) salvageRecords(ctx context.Context, s *Salvaged, st *state) error {
	for _, table := range l.sealed() {
		var bad [][]byte
		err := l.store.View(func(r store.Reader) error {
			r.Scan(table.name, nil, func(key, value []byte) bool {
				plain, epoch, err := l.vault.open(place{table.name, key, table.state(key)}, value)
				clear(plain)
				if err != nil {
					bad = append(bad, bytes.Clone(key))
					s.Dropped = append(s.Dropped, Lost{table.name, hex.EncodeToString(key)})
					return true
				}
				st.epoch = max(st.epoch, epoch)
				xor(&st.set, l.vault.digest(table.name, key, value))
				s.Kept++
				return true
			})
			return nil
		})
		if err != nil {
			return err
		}
		for len(bad) > 0 {
			some := bad[:min(len(bad), salvageRows)]
			bad = bad[len(some):]
			err := l.store.Update(ctx, func(tx store.Tx) error {
				for _, key := range some {
					if err := tx.Delete(table.name, key); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// salvageAudit makes the chain whole: an event that can be read keeps its
// words and its time, one that cannot is replaced by one that says so. What
// was altered is listed: those are no evidence.
func (l *Ledger) salvageAudit(ctx context.Context, s *Salvaged, st *state) error {
	var before [32]byte // hash of the event before, as it was stored
	for next := uint64(1); ; {
		var keys, values [][]byte
		err := l.store.View(func(r store.Reader) error {
			r.Scan(tableAudit, seqKey(next), func(key, value []byte) bool {
				keys, values = append(keys, bytes.Clone(key)), append(values, bytes.Clone(value))
				return len(keys) < salvageRows/2
			})
			return nil
		})
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return nil
		}
		err = l.store.Update(ctx, func(tx store.Tx) error {
			for i, key := range keys {
				if err := l.salvageEvent(tx, s, st, key, values[i], &before); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		next = st.auditSeq + 1
	}
}

func (l *Ledger) salvageEvent(tx store.Tx, s *Salvaged, st *state, key, value []byte, before *[32]byte) error {
	if len(key) != 8 || binary.BigEndian.Uint64(key) <= st.auditSeq || binary.BigEndian.Uint64(key) > st.auditSeq+maxGap {
		s.Altered = append(s.Altered, Lost{tableAudit, hex.EncodeToString(key)})
		return tx.Delete(tableAudit, key)
	}
	for st.auditSeq+1 < binary.BigEndian.Uint64(key) { // events are missing
		if err := appendLost(tx, s, st); err != nil {
			return err
		}
	}

	intact := len(value) >= 32 && chain(*before, value[32:]) == [32]byte(value[:32])
	if len(value) >= 32 {
		*before = [32]byte(value[:32])
	}
	if body := value[min(len(value), 32):]; json.Valid(body) {
		if !intact {
			s.Altered = append(s.Altered, Lost{tableAudit, hex.EncodeToString(key)})
		}
		return appendBody(tx, st, body)
	}
	return appendLost(tx, s, st)
}

// maxGap is how many events may be missing in a row: more than that is a key
// that nobody wrote.
const maxGap = 1 << 20

func appendLost(tx store.Tx, s *Salvaged, st *state) error {
	s.Altered = append(s.Altered, Lost{tableAudit, hex.EncodeToString(seqKey(st.auditSeq + 1))})
	body, err := json.Marshal(Event{Seq: st.auditSeq + 1, Event: "lost", Detail: "this event could not be read"})
	if err != nil {
		return err
	}
	return appendBody(tx, st, body)
}

func appendBody(tx store.Tx, st *state, body []byte) error {
	st.auditSeq++
	st.auditHash = chain(st.auditHash, body)
	return tx.Put(tableAudit, seqKey(st.auditSeq), append(st.auditHash[:], body...))
}

// finishSalvage writes the state and says in the log what was done.
func (l *Ledger) finishSalvage(ctx context.Context, s *Salvaged, st state) error {
	err := l.store.Update(ctx, func(tx store.Tx) error {
		t := &Txn{View: View{tx, l}, tx: tx, state: st}
		t.Bump()
		err := t.Note(Event{Event: "salvage", From: Who(ctx), Detail: fmt.Sprintf("kept %d records, dropped %d; %d events of the audit log were altered", s.Kept, len(s.Dropped), len(s.Altered))})
		if err != nil {
			return err
		}
		s.Events, st = t.state.auditSeq, t.state
		return tx.Put(tableMeta, keyState, l.vault.seal(place{tableMeta, keyState, 0}, t.state.epoch, t.state.encode()))
	})
	return errors.Join(err, l.mark.Write(st.position()))
}
