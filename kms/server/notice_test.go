package server_test

import (
	"context"
	"testing"
	"time"

	taloskeeper "latchkey/kms/server/talos/keeper"

	sidero "github.com/siderolabs/kms-client/api/kms"

	"latchkey/kms/server/hook"
)

// Machines of every protocol that come to wait are told of alike: a hook on
// pending hears of each, once, and of no secret.
func TestNoticesOfAllProtocols(t *testing.T) {
	l := newTalos(t, taloskeeper.Options{}, speaksKairos)
	notices := make(chan hook.Notice, 64)
	listening, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); l.Tell(listening, func(n hook.Notice) { notices <- n }) }()
	defer func() { stop(); <-done }()

	// The listener is there once it hears of something.
	heard := func(is func(hook.Notice) bool, ask func()) hook.Notice {
		t.Helper()
		for range 100 {
			ask()
			select {
			case n := <-notices:
				if is(n) {
					return n
				}
			case <-time.After(50 * time.Millisecond):
			}
		}
		t.Fatal("nothing was told")
		panic("unreachable")
	}

	pending := func(n hook.Notice) bool { return n.Status == "pending" || n.Reason == "pending" }
	node := newTPM(t)
	if n := heard(pending, func() { node = newTPM(t); l.mustPend(node) }); n.From != "127.0.0.1" || n.Reason != "enrollment" || n.Words == "" {
		t.Errorf("lk1: %+v", n)
	}
	if n := heard(pending, func() { refused(t, l.kairosNode(newSoft(t)), "") }); n.Words != "" || len(n.Node) != 64 {
		t.Errorf("Kairos: %+v", n)
	}

	m := l.machine()
	if n := heard(pending, func() {
		_, err := m.Seal(ctx, &sidero.Request{NodeUuid: box, Data: diskKey})
		l.wantRefusal("unknown", err)
	}); n.Node != box {
		t.Errorf("Talos: %+v", n)
	}
}
