package ledger_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/history"
	"latchkey/kms/ledger"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// A past is a KMS whose segments have ten events, and its store.
type past struct {
	t *testing.T
	*ledger.Ledger
	db  store.Store
	cfg ledger.Config
}

func newPast(t *testing.T) *past {
	t.Helper()
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, ledger.Names(tables))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	wrapping, mark := secret.Random(32), ledger.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := ledger.Initialize(t.Context(), db, wrapping, mark); err != nil {
		t.Fatal(err)
	}
	p := &past{t: t, db: db, cfg: ledger.Config{Store: db, Wrapping: wrapping, Mark: mark, Tables: tables, SegmentEvents: 10}}
	p.reopen()
	return p
}

func (p *past) reopen() {
	p.t.Helper()
	l, err := ledger.Open(p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.Ledger = l
}

// note logs so many events.
func (p *past) note(n int) {
	p.t.Helper()
	for i := range n {
		if err := p.Update(p.t.Context(), func(tx *ledger.Txn) error { return tx.Note(ledger.Event{Event: "x", Node: fmt.Sprint(i)}) }); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *past) seal(age time.Duration, want int) (done []ledger.Segment) {
	p.t.Helper()
	done, err := p.SealDue(p.t.Context(), age)
	if err != nil || len(done) != want {
		p.t.Fatalf("SealDue = %d segments, %v, want %d", len(done), err, want)
	}
	return done
}

func (p *past) segments() (all []ledger.Segment) {
	p.t.Helper()
	if err := p.Read(func(v ledger.View) (err error) { all, err = v.Segments(); return err }); err != nil {
		p.t.Fatal(err)
	}
	return all
}

// sound reads all that is left of the log, in both ways.
func (p *past) sound(when string, events uint64) {
	p.t.Helper()
	got, err := p.Check()
	if err != nil || got.Events != events {
		p.t.Fatalf("%s: Check = %d events, %v, want %d", when, got.Events, err, events)
	}
	if got, err := p.CheckTail(); err != nil || got.Events != events {
		p.t.Fatalf("%s: CheckTail = %d events, %v, want %d", when, got.Events, err, events)
	}
	if err := p.VerifySealed(p.t.Context()); err != nil {
		p.t.Fatalf("%s: VerifySealed = %v", when, err)
	}
}

// seen are the numbers of the events that the log shows.
func (p *past) seen() (first, last uint64, n int) {
	p.t.Helper()
	err := p.Read(func(v ledger.View) error {
		return v.Events(0, func(e ledger.Event) bool {
			if n == 0 {
				first = e.Seq
			}
			last = e.Seq
			n++
			return true
		})
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return first, last, n
}

// Segments are as long as they may be, or as old; each has a checkpoint over
// all events so far, by the KMS' key.
func TestSegments(t *testing.T) {
	p := newPast(t)
	p.seal(0, 0)
	p.note(25)
	p.seal(time.Hour, 2)
	p.seal(time.Hour, 0)
	p.seal(0, 1)
	p.note(1)
	p.sound("three segments", 26)

	var tree history.Tree
	if err := p.Read(func(v ledger.View) error { return nil }); err != nil {
		t.Fatal(err)
	}
	pin := p.Pins()[0]
	for i, s := range p.segments() {
		if err := p.Segment("", s.Number, func(event []byte) error { tree.Add(event); return nil }); err != nil {
			t.Fatal(err)
		}
		h, err := history.Open(s.Checkpoint, ed25519.PublicKey(pin[:]))
		want := []uint64{10, 20, 25}[i]
		if err != nil || h.Size != want || h.Root != tree.Root() || tree.Size() != want || s.Last != want || s.Number != uint64(i+1) {
			t.Errorf("segment %d: checkpoint %+v, %v; the tree has %d events and root %v", i+1, h, err, tree.Size(), tree.Root())
		}
	}
	logs, err := p.Logs()
	if err != nil || len(logs) != 1 || logs[0].Events != 26 || logs[0].Sealed != 25 || !strings.HasPrefix(logs[0].Key, fmt.Sprintf("latchkey/%x+", p.Name())) {
		t.Errorf("Logs = %+v, %v", logs, err)
	}
}

// A store of the format before has no segments until its operator says so:
// programs of that time take them for damage.
func TestOlderFormatIsNotCut(t *testing.T) {
	p := newPast(t)
	was, ours, err := p.Format()
	if err != nil || was != ours {
		t.Fatalf("a new store is in format %d, %v, want %d", was, err, ours)
	}
	p.asFormat(1)
	p.note(30)
	p.seal(0, 0)
	for range 2 {
		if _, err := p.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.seal(0, 4) // the upgrade is an event, once
	p.sound("upgraded", 31)
}

// asFormat puts another record of the format, as a program of that time
// would have.
func (p *past) asFormat(n int) {
	p.t.Helper()
	ledger.SetFormat(p.t, p.Ledger, n)
}

// How far it has come is told.
func TestVerifyingIsTold(t *testing.T) {
	p := newPast(t)
	p.note(20)
	p.seal(0, 2)
	p.reopen()
	if _, err := p.CheckTail(); err != nil {
		t.Fatal(err)
	}
	if n, of, done := p.Verifying(); done || n != 0 || of != 20 {
		t.Errorf("Verifying after the start = %d of %d, done: %t; want 0 of 20, false", n, of, done)
	}
	if err := p.VerifySealed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, of, done := p.Verifying(); n != 20 || of != 20 || !done {
		t.Errorf("Verifying = %d of %d, done: %t; want 20 of 20, true", n, of, done)
	}
}

// An event is proven by what its file says and the KMS' key.
func TestProve(t *testing.T) {
	p := newPast(t)
	p.note(23)
	p.seal(time.Hour, 2)
	pin := p.Pins()[0]
	for _, seq := range []uint64{1, 10, 11, 17, 20} {
		got, err := p.Prove(seq, "")
		if err != nil {
			t.Fatal(err)
		}
		var e ledger.Event
		proof, bad := history.ParseProof(got.Proof)
		h, unsigned := history.Open(proof.Checkpoint, ed25519.PublicKey(pin[:]))
		if err := errors.Join(json.Unmarshal([]byte(got.Event), &e), bad, unsigned, proof.Verify(h)); err != nil || e.Seq != seq || proof.Index != seq-1 {
			t.Errorf("event %d: the proof is of event %d, index %d: %v", seq, e.Seq, proof.Index, err)
		}
	}
	for seq, want := range map[uint64]error{21: ledger.ErrRefused, 99: ledger.ErrNotFound} {
		if _, err := p.Prove(seq, ""); !errors.Is(err, want) {
			t.Errorf("Prove(%d) = %v, want %v", seq, err, want)
		}
	}
}
