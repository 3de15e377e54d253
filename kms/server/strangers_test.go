package server_test

import (
	"testing"

	sidero "github.com/siderolabs/kms-client/api/kms"

	"latchkey/kms/ledger"
	"latchkey/kms/server/eventlog/eventlogtest"
	taloskeeper "latchkey/kms/server/talos/keeper"
	"latchkey/kms/softtpm"
)

// spend takes all that strangers of one source may leave in the log.
func (f *fixture) spend(from string) {
	f.t.Helper()
	err := f.Update(ctx, func(t *ledger.Txn) error {
		for range 250 {
			if err := t.NoteStranger(ledger.Event{Event: "get", From: from}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// asks counts the events of the log but those that say that some were left
// out.
func (f *fixture) asks() (n int) {
	f.t.Helper()
	for _, e := range f.log() {
		if e.Event != "strangers" {
			n++
		}
	}
	return n
}

// D16: a machine that nobody approved makes the log grow no further by
// showing something else each time, in any protocol; an approved one from
// the same address does.
func TestStrangersOfEveryProtocol(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{}, speaksKairos)
	owner := l.approved()
	newcomer, flips := boot(newTPM(t), eventlogtest.Recorded("secure")), newTPM(t)
	l.get(flips)
	l.spend("127.0.0.1")
	before := l.asks()

	if _, err := l.get(newcomer); code(err) != "pending" || newcomer.Shown != 1 {
		t.Errorf("Get = %v, and %d logs were shown, want pending and 1", err, newcomer.Shown)
	}
	for _, name := range []string{"A", "B", "C", "D", "E"} {
		log := eventlogtest.Recorded("secure")
		log.SetVariable("db", append(log.Variable("db"), eventlogtest.List(eventlogtest.Certificate(name))...))
		if shows := boot(flips, log); answered(l, shows) != "pending" || shows.Shown != 1 {
			t.Errorf("boot %s: %d logs were shown, want 1", name, shows.Shown)
		}
	}
	l.machine().Seal(ctx, &sidero.Request{NodeUuid: box, Data: diskKey})
	refused(t, l.kairosNode(newSoft(t)), "")
	if n := l.asks() - before; n != 0 {
		t.Errorf("machines that nobody approved left %d events more than they may", n)
	}
	if n := l.LeftOut(); n < 9 {
		t.Errorf("LeftOut = %d, want those of lk1, its boot log, Talos and Kairos", n)
	}

	l.mustGet(owner)
	if n := l.asks() - before; n != 1 {
		t.Errorf("a release left %d events, want 1", n)
	}
	if !l.audited("strangers", "events of machines that nobody approved were left out") {
		t.Error("no event says that some were left out")
	}
}

func answered(l *talosLab, b *softtpm.Booted) string {
	_, err := l.get(b)
	return code(err)
}
