package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/ledger"
)

// noted counts the events of a kind, and gives the last one's detail.
func noted(t *testing.T, l *ledger.Ledger, event string) (n int, detail string) {
	t.Helper()
	err := l.Read(func(v ledger.View) error {
		return v.Events(0, func(e ledger.Event) bool {
			if e.Event == event {
				n, detail = n+1, e.Detail
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, detail
}

func stranger(t *testing.T, l *ledger.Ledger, from string, n int) {
	t.Helper()
	err := l.Update(t.Context(), func(tx *ledger.Txn) error {
		for range n {
			if err := tx.NoteStranger(ledger.Event{Event: "asks", From: from}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func known(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	if err := l.Update(t.Context(), func(tx *ledger.Txn) error { return tx.Note(ledger.Event{Event: "known"}) }); err != nil {
		t.Fatal(err)
	}
}

// D16: one source of machines that nobody approved leaves 250 events, all
// leave 1,000, and a day later as many; one event an hour says how many were
// left out. Those of approved machines are never left out.
func TestStrangersFillNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := open(t)
		check := func(when string, asks, strangers, left int) {
			t.Helper()
			if n, _ := noted(t, l, "asks"); n != asks {
				t.Errorf("%s: %d events of strangers, want %d", when, n, asks)
			}
			if n, _ := noted(t, l, "strangers"); n != strangers {
				t.Errorf("%s: %d events say that some were left out, want %d", when, n, strangers)
			}
			if n := l.LeftOut(); n != uint64(left) {
				t.Errorf("%s: LeftOut = %d, want %d", when, n, left)
			}
		}

		stranger(t, l, "2001:db8::1", 240)
		stranger(t, l, "2001:db8::2", 20) // the same /64
		check("one source", 250, 0, 10)
		known(t, l)
		check("then an approved machine", 250, 1, 10)
		if _, detail := noted(t, l, "strangers"); !strings.HasPrefix(detail, "10 events of machines that nobody approved were left out") {
			t.Errorf("the event says %q", detail)
		}

		for i := range 10 {
			stranger(t, l, fmt.Sprintf("192.0.2.%d", i), 100)
		}
		check("ten others", 1000, 1, 260)
		for range 1100 {
			known(t, l)
		}
		if n, _ := noted(t, l, "known"); n != 1101 {
			t.Errorf("%d events of approved machines, want all 1,101", n)
		}

		time.Sleep(time.Hour)
		known(t, l)
		check("an hour later", 1000, 2, 260)
		if _, detail := noted(t, l, "strangers"); !strings.HasPrefix(detail, "250 events") || !strings.HasSuffix(detail, "in 1h0m0s") {
			t.Errorf("the event says %q", detail)
		}
		time.Sleep(23 * time.Hour)
		stranger(t, l, "2001:db8::1", 300)
		check("a day later", 1250, 2, 310)
	})
}

// What a transaction took that failed, or that ran again, is given back; who
// listens hears what the log does not have.
func TestStrangersOfFailedTransactions(t *testing.T) {
	l, _ := open(t)
	events, stop := l.Listen()
	defer stop()
	no := errors.New("no")
	for range 3 {
		err := l.Update(t.Context(), func(tx *ledger.Txn) error {
			for range 300 {
				if err := tx.NoteStranger(ledger.Event{Event: "asks", From: "192.0.2.1"}); err != nil {
					return err
				}
			}
			return no
		})
		if !errors.Is(err, no) {
			t.Fatal(err)
		}
	}
	if n := l.LeftOut(); n != 0 {
		t.Errorf("LeftOut = %d after transactions that failed, want 0", n)
	}

	stranger(t, l, "192.0.2.1", 250)
	if n, _ := noted(t, l, "asks"); n != 250 {
		t.Errorf("%d events after those, want 250", n)
	}
	for range 250 {
		<-events.Events
	}
	stranger(t, l, "192.0.2.1", 1)
	if e := <-events.Events; e.Event != "asks" || e.Seq != 0 || e.Time.IsZero() {
		t.Errorf("who listens hears %+v, want what was left out, without a number", e)
	}
}

// A summary that is lost with its transaction comes with the next one.
func TestStrangersAreSaidOnce(t *testing.T) {
	l, _ := open(t)
	stranger(t, l, "192.0.2.1", 255)
	no, runs := errors.New("no"), 0
	l.Update(t.Context(), func(tx *ledger.Txn) error {
		runs++
		return errors.Join(tx.Note(ledger.Event{Event: "known"}), no)
	})
	known(t, l)
	if n, detail := noted(t, l, "strangers"); n != 1 || !strings.HasPrefix(detail, "5 events") {
		t.Errorf("%d events, the last %q, want one of 5 (%d runs)", n, detail, runs)
	}
}
