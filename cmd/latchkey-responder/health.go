package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A target is taken back after failures checks in a row that fail, and
// announced again after one that succeeds.
const (
	failures  = 3
	checkTime = 3 * time.Second
)

// health knows which targets answer.
type health struct {
	kind  string // "http", "tcp" or "off"
	every time.Duration
	own   func() []netip.Addr // where a target without an address is
	log   *slog.Logger
	// changed is called when a target has come or gone.
	changed func()

	mu     sync.Mutex
	states map[netip.AddrPort]*state
}

// A state is what is known of one target.
type state struct {
	cancel  context.CancelFunc
	alive   bool
	failed  int // checks in a row
	err     error
	checked time.Time
}

func newHealth(kind string, every time.Duration, own func() []netip.Addr, log *slog.Logger) *health {
	return &health{kind: kind, every: every, own: own, log: log, states: map[netip.AddrPort]*state{}}
}

// watch checks these targets from now on, and no others.
func (h *health) watch(ctx context.Context, targets []target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wanted := map[netip.AddrPort]bool{}
	for _, t := range targets {
		wanted[t.addr] = true
		if h.states[t.addr] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		h.states[t.addr] = &state{cancel: cancel, alive: h.kind == "off"}
		if h.kind != "off" {
			go h.follow(ctx, t.addr)
		}
	}

	for addr, s := range h.states {
		if !wanted[addr] {
			s.cancel()
			delete(h.states, addr)
		}
	}
}

// alive tells whether a target may be announced.
func (h *health) alive(addr netip.AddrPort) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.states[addr]
	return s != nil && s.alive
}

// follow checks one target until ctx ends.
func (h *health) follow(ctx context.Context, addr netip.AddrPort) {
	for {
		err := h.check(ctx, addr)
		if ctx.Err() != nil {
			return
		}
		if h.note(addr, err) {
			h.changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(h.every):
		}
	}
}

// note takes the result of a check, and tells whether the target has come
// or gone.
func (h *health) note(addr netip.AddrPort, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.states[addr]
	if s == nil {
		return false
	}

	first := s.checked.IsZero()
	s.err, s.checked = err, time.Now()
	was := s.alive
	if err == nil {
		s.alive, s.failed = true, 0
	} else if s.failed++; s.failed >= failures {
		s.alive = false
	}

	switch {
	case s.alive && !was:
		h.log.Info("target is up; announcing it", "target", text(addr))
	case was && !s.alive, first && err != nil:
		h.log.Warn("target is not responding; not announcing it", "target", text(addr), "error", err)
	}

	return s.alive != was
}

// check asks a target for a sign of life; one on this machine may give it at
// any of its addresses.
func (h *health) check(ctx context.Context, addr netip.AddrPort) error {
	if addr.Addr().IsValid() {
		return check(ctx, h.kind, addr)
	}
	var err error
	for _, a := range h.own() {
		if err = check(ctx, h.kind, netip.AddrPortFrom(a, addr.Port())); err == nil {
			return nil
		}
	}
	return err
}

// check asks an address for a sign of life. For "http" any answer in HTTP is
// one, also that there is no such page.
func check(ctx context.Context, kind string, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if kind == "tcp" {
		return nil
	}

	conn.SetDeadline(time.Now().Add(checkTime))
	if _, err := fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: %s\r\nUser-Agent: latchkey-responder\r\nConnection: close\r\n\r\n", addr); err != nil {
		return err
	}

	head := make([]byte, len("HTTP/"))
	if _, err := io.ReadFull(conn, head); err != nil {
		return fmt.Errorf("waiting for an answer: %w", err)
	}

	if string(head) != "HTTP/" {
		return fmt.Errorf("it does not speak HTTP (--check tcp takes any server)")
	}
	return nil
}
