package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// Each row is a row of checks, + or -, and whether the target is announced
// after each.
func TestHealthStates(t *testing.T) {
	addr := netip.MustParseAddrPort("192.0.2.5:1")
	for _, row := range []struct{ checks, want, log string }{
		{"+", "y", "target is up; announcing it"},
		{"-", "n", "target is not responding; not announcing it"},
		{"+--+", "yyyy", "target is up"},
		{"+---", "yyyn", "target is not responding"},
		{"+---+", "yyyny", "target is up"},
		{"---+", "nnny", "target is not responding"},
		{"+--+--+", "yyyyyyy", "target is up"},
	} {
		log := &buffer{}
		h := newHealth("tcp", time.Hour, nil, slog.New(slog.NewTextHandler(log, nil)))
		h.states[addr] = &state{cancel: func() {}}
		got, changes, was := "", 0, false
		for _, c := range row.checks {
			err := error(nil)
			if c == '-' {
				err = errors.New("refused")
			}
			if h.note(addr, err) {
				changes++
			}
			if now := h.alive(addr); now != was {
				changes--
				was = now
			}
			got += map[bool]string{true: "y", false: "n"}[was]
		}
		if got != row.want || changes != 0 || !strings.Contains(log.String(), row.log) {
			t.Errorf("checks %s: announced %s, want %s; log %q", row.checks, got, row.want, log.String())
		}
	}
	h := newHealth("tcp", time.Hour, nil, slog.New(slog.DiscardHandler))
	if h.note(addr, nil) || h.alive(addr) {
		t.Error("a target that is watched no more is announced")
	}
}

// Each row is a server, and what the checks say of it.
func TestChecks(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	ssh := loopback(t)
	defer ssh.Close()
	go func() {
		for {
			c, err := ssh.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "SSH-2.0-x\r\n")
			c.Close()
		}
	}()
	closed := loopback(t)
	closed.Close()

	for _, row := range []struct {
		name, kind, addr, want string
	}{
		{"HTTP that knows no such page", "http", web.Listener.Addr().String(), ""},
		{"HTTP, TCP is enough", "tcp", web.Listener.Addr().String(), ""},
		{"another protocol", "http", ssh.Addr().String(), "--check tcp takes any server"},
		{"another protocol, TCP is enough", "tcp", ssh.Addr().String(), ""},
		{"nobody", "tcp", closed.Addr().String(), "refused"},
	} {
		t.Run(row.name, func(t *testing.T) {
			at := netip.MustParseAddrPort(row.addr)
			h := newHealth(row.kind, time.Hour, func() []netip.Addr { return []netip.Addr{netip.IPv6Loopback(), at.Addr()} }, slog.New(slog.DiscardHandler))
			for _, a := range []netip.AddrPort{at, ownPort(at.Port())} {
				err := h.check(t.Context(), a)
				if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
					t.Errorf("check(%s) = %v, want %q", text(a), err, row.want)
				}
			}
		})
	}
}

// watch starts a check for each target once, and ends those that are wanted
// no more.
func TestHealthWatch(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	changed := make(chan struct{}, 8)
	h := newHealth("http", time.Hour, nil, slog.New(slog.DiscardHandler))
	h.changed = func() { changed <- struct{}{} }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := target{addr: netip.MustParseAddrPort(web.Listener.Addr().String())}
	h.watch(ctx, []target{one, one})
	<-changed
	if !h.alive(one.addr) || len(h.states) != 1 {
		t.Errorf("alive %v with %d checks, want one that is alive", h.alive(one.addr), len(h.states))
	}
	h.watch(ctx, nil)
	if h.alive(one.addr) {
		t.Error("a target that was taken out is alive")
	}

	off := newHealth("off", time.Hour, nil, slog.New(slog.DiscardHandler))
	off.watch(ctx, []target{one})
	if !off.alive(one.addr) {
		t.Error("without checks a target is not alive")
	}
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
