package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/store/bolt"
)

// A held is a database with its mark in files.
type held struct {
	t        *testing.T
	path     string
	wrapping secret.Bytes
	mark     ledger.Mark
}

func hold(t *testing.T) *held {
	t.Helper()
	dir := t.TempDir()
	h := &held{t, filepath.Join(dir, "kms.db"), secret.Random(32), ledger.MarkFile(filepath.Join(dir, "epoch"))}
	db, err := bolt.Open(h.path, true, ledger.Names(tables))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Initialize(t.Context(), db, h.wrapping, h.mark); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *held) open() *ledger.Ledger {
	h.t.Helper()
	db, err := bolt.Open(h.path, false, ledger.Names(tables))
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Store: db, Wrapping: h.wrapping, Mark: h.mark, Tables: tables})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { db.Close() })
	return l
}

// release notes an event that changes nothing of what is given to whom.
func (h *held) release(l *ledger.Ledger) error {
	return l.Update(h.t.Context(), func(t *ledger.Txn) error { return t.Note(ledger.Event{Event: "get"}) })
}

func (h *held) copy(from, to string) {
	h.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// E2: releases raise the mark, too. A database put back from before them is
// noticed, though its epoch is the same.
func TestMarkFollowsReleases(t *testing.T) {
	h := hold(t)
	h.copy(h.path, h.path+".old")
	l := h.open()
	for range 3 {
		if err := h.release(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := h.mark.Read(); err != nil || p != (ledger.Position{Epoch: 1, Events: 3}) {
		t.Errorf("after a clean stop the mark is %v, %v, want epoch 1 and 3 events", p, err)
	}
	again := h.open()
	if _, err := again.Check(); err != nil {
		t.Error(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}

	h.copy(h.path+".old", h.path)
	if _, err := h.open().Check(); !errors.Is(err, ledger.ErrRolledBack) {
		t.Errorf("Check of a database from before three releases = %v, want %v", err, ledger.ErrRolledBack)
	}
}

// A mark of an earlier version has no events.
func TestMarkWithoutEvents(t *testing.T) {
	m := ledger.MarkFile(filepath.Join(t.TempDir(), "epoch"))
	for text, want := range map[string]ledger.Position{"7\n": {Epoch: 7}, "7 12": {Epoch: 7, Events: 12}} {
		if err := os.WriteFile(string(m), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := m.Read(); err != nil || got != want {
			t.Errorf("Read of %q = %v, %v, want %v", text, got, err, want)
		}
	}
	if err := os.WriteFile(string(m), []byte("7 x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Read(); err == nil {
		t.Error("a mark that is no number was read")
	}
}

// E2: the file is replaced, or overwritten with an older copy, under the
// server that has it open: nothing is released any more, and readyz says why.
func TestDatabaseReplacedUnderTheServer(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(h *held) error
		want error
	}{
		{"renamed over", func(h *held) error { h.copy(h.path+".old", h.path+".new"); return os.Rename(h.path+".new", h.path) }, bolt.ErrReplaced},
		{"removed", func(h *held) error { return os.Remove(h.path) }, bolt.ErrReplaced},
		{"overwritten", func(h *held) error { h.copy(h.path+".old", h.path); return nil }, ledger.ErrRolledBack},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := hold(t)
			h.copy(h.path, h.path+".old")
			l := h.open()
			for range 2 {
				if err := h.release(l); err != nil {
					t.Fatal(err)
				}
			}
			if err := row.do(h); err != nil {
				t.Fatal(err)
			}
			if err := h.release(l); !errors.Is(err, row.want) {
				t.Errorf("a release = %v, want %v", err, row.want)
			}
			if err := l.Ready(); err == nil {
				t.Error("the server is ready")
			}
		})
	}
}

// brokenMark cannot be written while it is broken.
type brokenMark struct {
	ledger.Mark
	broken bool
}

func (m *brokenMark) Write(p ledger.Position) error {
	if m.broken {
		return errors.New("no space left on device")
	}
	return m.Mark.Write(p)
}

// A change that is in the database is reported as done, whatever becomes of
// the mark; the server says that it is not ready, and writes the mark later.
func TestMarkThatCannotBeWritten(t *testing.T) {
	h := hold(t)
	m := &brokenMark{Mark: h.mark, broken: true}
	h.mark = m
	l := h.open()
	err := l.Update(t.Context(), func(tx *ledger.Txn) error { tx.Bump(); return tx.Note(ledger.Event{Event: "quarantine"}) })
	if err != nil {
		t.Errorf("a change that took effect was reported as failed: %v", err)
	}
	if err := l.Healthy(); err == nil || !strings.Contains(err.Error(), "high-water mark") {
		t.Errorf("Healthy = %v, want that the mark could not be written", err)
	}
	m.broken = false
	if err := h.release(l); err != nil {
		t.Fatal(err)
	}
	if p, err := h.mark.Read(); err != nil || p.Epoch != 2 || l.Healthy() != nil {
		t.Errorf("the mark is %v, %v, and Healthy = %v; want epoch 2", p, err, l.Healthy())
	}
}
