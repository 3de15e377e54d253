package ledger

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
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
	l := &Ledger{store: c.Store, mark: c.Mark, chain: &keychain{}, sealLimit: sealLimit, log: slog.New(slog.DiscardHandler), tables: map[string]*Table{}, keyrings: map[string]*Keyring{}, observe: func(float64) {}}
	if err := l.register(c.Tables, c.Keyrings); err != nil {
		return s, err
	}
	if err := l.unlockDamaged(c); err != nil {
		return s, err
	}

	st := state{epoch: mark.Epoch, since: mark.Since}
	if err := l.salvageState(&s, &st); err != nil {
		return s, err
	}
	ends := walk{}
	if err := l.salvageSegments(ctx, ends); err != nil {
		return s, err
	}
	if err := l.salvageRecords(ctx, &s, &st); err != nil {
		return s, err
	}
	if err := l.salvageAudit(ctx, &s, ends); err != nil {
		return s, err
	}
	return s, l.finishSalvage(ctx, &s, st, ends)
}

// unlockDamaged opens the keys, without which nothing can be verified.
func (l *Ledger) unlockDamaged(c Config) error {
	return l.store.View(func(r store.Reader) error {
		if err := l.chain.unwrap(c.Wrapping, r.Get(tableMeta, keyWrapped)); err != nil {
			return err
		}
		v := l.view(r)
		seeds, _, err := v.keys.open(place{tableMeta, keySigning, 0}, r.Get(tableMeta, keySigning))
		clear(seeds)
		if err == nil {
			err = l.loadName(v)
		}
		if err != nil {
			return fmt.Errorf("opening the signing keys and the name: %w: only a backup has them", err)
		}
		return nil
	})
}

// salvageState takes from the state what only it knows: the epoch.
func (l *Ledger) salvageState(s *Salvaged, st *state) error {
	return l.Read(func(v View) error {
		old, err := v.readState()
		s.State = err != nil
		st.epoch, st.since, st.seq = max(st.epoch, old.epoch), max(st.since, old.since), old.seq
		if err == nil {
			_, err = v.verifyRecords(old)
			s.Mixed = err != nil
		}
		var failed error
		v.r.Scan(tableMeta, nil, func(key, value []byte) bool {
			if l.counted(tableMeta, string(key)) {
				failed = v.keys.count(&st.set, tableMeta, key, value)
			}
			return failed == nil
		})
		return failed
	})
}

// salvageRecords removes what does not open.
func (l *Ledger) salvageRecords(ctx context.Context, s *Salvaged, st *state) error {
	for _, table := range l.sealed() {
		var bad [][]byte
		err := l.Read(func(v View) error {
			v.r.Scan(table.name, nil, func(key, value []byte) bool {
				plain, epoch, err := v.keys.open(place{table.name, key, table.state(key)}, value)
				clear(plain)
				if err != nil {
					bad = append(bad, bytes.Clone(key))
					s.Dropped = append(s.Dropped, Lost{table.name, hex.EncodeToString(key)})
					return true
				}
				st.epoch = max(st.epoch, epoch)
				s.Kept++
				return v.keys.count(&st.set, table.name, key, value) == nil // it was opened
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

// salvageAudit makes the chains whole: an event that can be read keeps its
// words and its time, one that cannot is replaced by one that says so. What
// was altered is listed: those are no evidence.
func (l *Ledger) salvageAudit(ctx context.Context, s *Salvaged, ends walk) error {
	was := map[string][32]byte{} // hash of each server's event before, as it was stored
	for server, base := range ends {
		was[server] = base.auditHash
	}
	for next := []byte(nil); ; {
		var keys, values [][]byte
		err := l.store.View(func(r store.Reader) error {
			r.Scan(tableAudit, next, func(key, value []byte) bool {
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
				if err := salvageEvent(tx, s, ends, key, values[i], was); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		next = append(keys[len(keys)-1], 0)
	}
}

func salvageEvent(tx store.Tx, s *Salvaged, ends walk, key, value []byte, was map[string][32]byte) error {
	seq, server, ok := eventAt(key)
	at := ends[server]
	if !ok || seq <= at.auditSeq || seq > at.auditSeq+maxGap {
		s.Altered = append(s.Altered, Lost{tableAudit, hex.EncodeToString(key)})
		return tx.Delete(tableAudit, key)
	}

	intact := len(value) >= 32 && chain(was[server], value[32:]) == [32]byte(value[:32])
	for server == "" && !intact && ends[server].auditSeq+1 < seq { // events are missing: the only server leaves no number out
		if err := appendLost(tx, s, ends, ends[server].auditSeq+1, server); err != nil {
			return err
		}
	}
	if len(value) >= 32 {
		was[server] = [32]byte(value[:32])
	}
	if body := value[min(len(value), 32):]; numbered(seq, body) && json.Valid(body) {
		if !intact {
			s.Altered = append(s.Altered, Lost{tableAudit, hex.EncodeToString(key)})
		}
		return appendBody(tx, ends, seq, server, body)
	}
	return appendLost(tx, s, ends, seq, server)
}

// maxGap is how many events may be missing in a row: more than that is a key
// that nobody wrote.
const maxGap = 1 << 20

func appendLost(tx store.Tx, s *Salvaged, ends walk, seq uint64, server string) error {
	s.Altered = append(s.Altered, Lost{tableAudit, hex.EncodeToString(eventKey(seq, server))})
	body, err := json.Marshal(Event{Seq: seq, Event: "lost", Detail: "this event could not be read", Server: server})
	if err != nil {
		return err
	}
	return appendBody(tx, ends, seq, server, body)
}

func appendBody(tx store.Tx, ends walk, seq uint64, server string, body []byte) error {
	at := ends[server]
	at.events, at.auditSeq, at.auditHash = at.events+1, seq, chain(at.auditHash, body)
	ends[server] = at
	return tx.Put(tableAudit, eventKey(seq, server), append(at.auditHash[:], body...))
}

// finishSalvage writes the one head that there is from then on, and says in
// the log what was done.
func (l *Ledger) finishSalvage(ctx context.Context, s *Salvaged, st state, ends walk) error {
	seqs := map[string]uint64{} // of the other servers' heads, as far as they can be read
	if err := l.Read(func(v View) error {
		v.r.Scan(tableMeta, keyState, func(key, sealed []byte) bool {
			if server, is := serverOf(key); is && server != "" {
				h, _ := v.openState(server, sealed)
				seqs[server] = h.seq
			}
			return true
		})
		return nil
	}); err != nil {
		return err
	}
	st.events, st.auditHash = ends[""].events, ends[""].auditHash
	var w whole
	err := l.store.Update(ctx, func(tx store.Tx) error {
		t := &Txn{View: l.view(tx), tx: tx, state: st}
		for _, at := range ends {
			t.state.auditSeq = max(t.state.auditSeq, at.auditSeq)
		}
		for server, seq := range seqs {
			if _, wrote := ends[server]; !wrote {
				ends[server] = state{}
			}
			at := ends[server]
			at.seq = seq
			ends[server] = at
			if err := tx.Delete(tableMeta, stateKey(server)); err != nil {
				return err
			}
		}
		for server, at := range ends {
			if server == "" {
				continue
			}
			at.server, at.since, at.epoch = server, st.since, st.epoch
			if err := t.Put(tableEnded, []byte(server), at.encode(t.View.keys)); err != nil {
				return err
			}
		}
		t.state.seq++
		t.Bump()
		err := t.Note(Event{Event: "salvage", From: Who(ctx), Detail: fmt.Sprintf("kept %d records, dropped %d; %d events of the audit log were altered", s.Kept, len(s.Dropped), len(s.Altered))})
		if err != nil {
			return err
		}
		if err := tx.Put(tableMeta, keyState, t.sealState()); err != nil {
			return err
		}
		w, err = t.View.readState()
		s.Events = w.events
		return err
	})
	if err != nil {
		return err
	}
	return l.mark.Write(w.position())
}
