package ledger_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"latchkey/kms/history"
	"latchkey/kms/ledger"
	"latchkey/kms/store"
)

// rechain writes the log again from an event on, with hashes that fit.
func (p *past) rechain(edit func(seq uint64, body []byte) []byte) {
	p.t.Helper()
	var before [32]byte
	err := p.db.Update(p.t.Context(), func(tx store.Tx) error {
		rows := map[string][]byte{}
		tx.Scan("audit", nil, func(key, value []byte) bool {
			body := edit(binary.BigEndian.Uint64(key), append([]byte(nil), value[32:]...))
			h := sha256.New()
			h.Write([]byte("lk1/audit"))
			h.Write(before[:])
			h.Write(body)
			h.Sum(before[:0])
			rows[string(key)] = append(before[:len(before):len(before)], body...)
			return true
		})
		for key, value := range rows {
			if err := tx.Put("audit", []byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// E5: whoever edits what is sealed, be it with hashes that fit, is found
// after the start, and nothing is released from then on.
func TestSealedHistoryIsVerified(t *testing.T) {
	key := func(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }
	put := func(p *past, table string, k, v []byte) {
		p.t.Helper()
		err := p.db.Update(p.t.Context(), func(tx store.Tx) error {
			if v == nil {
				return tx.Delete(table, k)
			}
			return tx.Put(table, k, v)
		})
		if err != nil {
			p.t.Fatal(err)
		}
	}
	get := func(p *past, table string, k []byte) (v []byte) {
		p.db.View(func(r store.Reader) error { v = append(v, r.Get(table, k)...); return nil })
		return v
	}
	for _, row := range []struct {
		name  string
		edit  func(p *past)
		start bool // it is seen at the start already
		want  error
	}{
		{"an event edited", func(p *past) {
			v := get(p, "audit", key(4))
			v[40] ^= 1
			put(p, "audit", key(4), v)
		}, false, ledger.ErrUnverified},
		{"an event removed", func(p *past) { put(p, "audit", key(12), nil) }, false, ledger.ErrUnverified},
		{"an event of the tail removed", func(p *past) { put(p, "audit", key(23), nil) }, true, ledger.ErrUnverified},
		{"a segment removed from the log", func(p *past) {
			for seq := uint64(11); seq <= 20; seq++ {
				put(p, "audit", key(seq), nil)
			}
		}, false, ledger.ErrUnverified},
		{"all events written again, with hashes that fit", func(p *past) {
			p.rechain(func(seq uint64, body []byte) []byte {
				if seq == 4 {
					return []byte(strings.Replace(string(body), `"x"`, `"y"`, 1))
				}
				return body
			})
		}, true, ledger.ErrUnverified}, // the tail's beginning is sealed
		{"a segment's record removed", func(p *past) { put(p, "segments", []byte("s/-/000000000001"), nil) }, true, ledger.ErrUnverified},
		{"a segment's record put in another's place", func(p *past) {
			put(p, "segments", []byte("s/-/000000000001"), get(p, "segments", []byte("s/-/000000000002")))
		}, true, ledger.ErrUnverified},
		{"said to be removed", func(p *past) {
			put(p, "segments", []byte("r/-"), get(p, "segments", []byte("s/-/000000000002")))
		}, true, ledger.ErrUnverified},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPast(t)
			p.t = t
			p.note(25)
			p.seal(time.Hour, 2)
			p.note(1)
			row.edit(p)
			p.reopen()
			if _, err := p.Check(); !errors.Is(err, row.want) {
				t.Errorf("Check = %v, want %v", err, row.want)
			}
			if _, err := p.CheckTail(); (err != nil) != row.start {
				t.Errorf("CheckTail = %v, want an error: %t", err, row.start)
			}
			if row.start {
				return
			}
			if err := p.VerifySealed(t.Context()); !errors.Is(err, row.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("VerifySealed = %v, want one line of %v", err, row.want)
			}
			for name, err := range map[string]error{"Ready": p.Ready(), "Update": p.Update(t.Context(), func(*ledger.Txn) error { return nil })} {
				if !errors.Is(err, row.want) {
					t.Errorf("%s = %v, want %v", name, err, row.want)
				}
			}
		})
	}
}

// A counting is a store that counts the events that are read.
type counting struct {
	store.Store
	events int
}

func (c *counting) View(f func(store.Reader) error) error {
	return c.Store.View(func(r store.Reader) error { return f(countingReader{r, c}) })
}

type countingReader struct {
	store.Reader
	c *counting
}

func (r countingReader) Scan(table string, from []byte, f func(key, value []byte) bool) {
	r.Reader.Scan(table, from, func(key, value []byte) bool {
		if table == "audit" {
			r.c.events++
		}
		return f(key, value)
	})
}

// H5: a start reads of the log what no checkpoint covers, however long it is.
func TestStartReadsTheTail(t *testing.T) {
	p := newPast(t)
	p.note(200)
	p.seal(time.Hour, 20)
	p.note(3)
	c := &counting{Store: p.db}
	p.cfg.Store = c
	p.reopen()
	if got, err := p.CheckTail(); err != nil || got.Events != 203 || c.events != 3 {
		t.Errorf("CheckTail = %d events, %v, and read %d, want 203 and 3", got.Events, err, c.events)
	}
	if err := p.VerifySealed(t.Context()); err != nil || c.events < 203 {
		t.Errorf("VerifySealed = %v, and %d events were read", err, c.events)
	}
}

// What was sealed with hashes that fit, but is not what was sealed, is told
// by its checkpoint.
func TestCheckpointTells(t *testing.T) {
	p := newPast(t)
	p.note(10)
	p.seal(0, 1)
	ledger.EditSegment(t, p.Ledger, 1, func(s *ledger.Segment) {
		s.Checkpoint = strings.Replace(s.Checkpoint, "\n10\n", "\n9\n", 1)
	})
	p.reopen()
	if err := p.VerifySealed(t.Context()); !errors.Is(err, history.ErrSwapped) {
		t.Errorf("VerifySealed = %v, want %v", err, history.ErrSwapped)
	}
	if _, err := p.CheckTail(); !errors.Is(err, history.ErrSwapped) {
		t.Errorf("CheckTail = %v, want %v", err, history.ErrSwapped)
	}
}
