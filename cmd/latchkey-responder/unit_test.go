package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

func TestParseTarget(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"192.0.2.5:8443", "192.0.2.5:8443"},
		{"[2001:db8::5]:8443", "[2001:db8::5]:8443"},
		{"[fe80::5%eth0]:1", "[fe80::5%eth0]:1"},
		{":7741", ":7741"},
		{":65535", ":65535"},
		{"", ""},
		{":", ""},
		{":0", ""},
		{":65536", ""},
		{":-1", ""},
		{":x", ""},
		{"192.0.2.5", ""},
		{"192.0.2.5:", ""},
		{"192.0.2.5:0", ""},
		{"kms.example.com:1", ""},
		{"2001:db8::5:8443", ""},
		{"[192.0.2.5]:1", ""},
	} {
		a, err := parseTarget(row.in)
		got := ""
		if err == nil {
			got = text(a)
		} else if !strings.Contains(err.Error(), "ADDRESS:PORT") {
			t.Errorf("parseTarget(%q) = %v, want an error that shows the form", row.in, err)
		}
		if got != row.want {
			t.Errorf("parseTarget(%q) = %s, want %s", row.in, got, row.want)
		}
	}
}

// Each row is a list of targets, and what is announced for those that are up.
func TestAnnouncements(t *testing.T) {
	mk := func(host, addr, services string) target {
		a, err := parseTarget(addr)
		if err != nil {
			t.Fatal(err)
		}
		return target{host, a, services}
	}
	for _, row := range []struct {
		name    string
		o       options
		targets []target
		down    string
		want    string
	}{
		{"one", options{}, []target{mk("kms.local", "192.0.2.5:1", "_a._tcp")}, "", "kms.local kms 1 [192.0.2.5] [_a._tcp]"},
		{"two addresses", options{}, []target{mk("kms.local", "192.0.2.5:1", "_a._tcp"), mk("KMS.local", "[2001:db8::5]:1", "_a._tcp")}, "", "kms.local kms 1 [192.0.2.5 2001:db8::5] [_a._tcp]"},
		{"one is down", options{}, []target{mk("kms.local", "192.0.2.5:1", "_a._tcp"), mk("kms.local", "192.0.2.6:1", "_a._tcp")}, "192.0.2.5:1", "kms.local kms 1 [192.0.2.6] [_a._tcp]"},
		{"all are down", options{}, []target{mk("kms.local", "192.0.2.5:1", "_a._tcp")}, "192.0.2.5:1", ""},
		{"two ports are two instances", options{}, []target{mk("kms.local", "192.0.2.5:1", "_a._tcp"), mk("kms.local", "192.0.2.5:2", "_a._tcp")}, "", "kms.local kms 1 [192.0.2.5] [_a._tcp]; kms.local kms port 2 2 [192.0.2.5] [_a._tcp]"},
		{"two hosts", options{}, []target{mk("a.local", "192.0.2.5:1", "_a._tcp"), mk("b.local", "192.0.2.5:1", "_a._tcp")}, "", "a.local a 1 [192.0.2.5] [_a._tcp]; b.local b 1 [192.0.2.5] [_a._tcp]"},
		{"other services", options{}, []target{mk("a.local", "192.0.2.5:1", "_a._tcp"), mk("a.local", "192.0.2.6:1", "_a._tcp,_b._tcp")}, "", "a.local a 1 [192.0.2.5] [_a._tcp]; a.local a port 1 1 [192.0.2.6] [_a._tcp _b._tcp]"},
		{"no service", options{}, []target{mk("a.local", "192.0.2.5:1", "")}, "", "a.local a 1 [192.0.2.5] []"},
		{"own name", options{instance: "Key server"}, []target{mk("a.local", "192.0.2.5:1", "")}, "", "a.local Key server 1 [192.0.2.5] []"},
		{"this machine", options{}, []target{mk("a.local", ":1", "")}, "", "a.local a 1 [] []"},
		{"this machine and another stay apart", options{}, []target{mk("a.local", ":1", ""), mk("a.local", "192.0.2.5:1", "")}, "", "a.local a 1 [] []; a.local a port 1 1 [192.0.2.5] []"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, a := range row.o.announcements(row.targets, func(a netip.AddrPort) bool { return text(a) != row.down }) {
				got = append(got, fmt.Sprintf("%s %s %d %v %v", a.Host, a.Instance, a.Port, a.Addrs, a.Services))
			}
			if s := strings.Join(got, "; "); s != row.want {
				t.Errorf("announcements() = %s, want %s", s, row.want)
			}
		})
	}
}

func TestReadTargets(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"all forms", "a.local 192.0.2.5:1\n\n# comment\n  b.local\t:7741 _x._tcp,_y._tcp # here\n", "a.local 192.0.2.5:1 _d._tcp; b.local :7741 _x._tcp,_y._tcp"},
		{"carriage returns", "a.local 192.0.2.5:1\r\n", "a.local 192.0.2.5:1 _d._tcp"},
		{"too few words", "a.local 192.0.2.5:1\na.local\n", "error targets:2: want HOST"},
		{"too many words", "a.local 192.0.2.5:1 _x._tcp y\n", "error targets:1: want HOST"},
		{"no address", "a.local b:1\n", "error targets:1: target"},
		{"too many", strings.Repeat("a.local 192.0.2.5:1\n", 65), "error targets:65: more than 64"},
		{"a line without end", "a.local " + strings.Repeat("x", 70<<10), "error token too long"},
		{"nothing", "#\n", "error names no target"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "targets")
			if err := os.WriteFile(path, []byte(row.text), 0o644); err != nil {
				t.Fatal(err)
			}
			targets, err := readTargets(path, "_d._tcp")
			if want, bad := strings.CutPrefix(row.want, "error "); bad {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("readTargets() = %v, want an error with %q", err, want)
				}
				return
			}

			var got []string
			for _, x := range targets {
				got = append(got, x.host+" "+text(x.addr)+" "+x.services)
			}
			if s := strings.Join(got, "; "); s != row.want || err != nil {
				t.Errorf("readTargets() = %s, %v, want %s", s, err, row.want)
			}
		})
	}
}

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

// What is said of links: faults/field.md P18, `--interface eth9`.
func TestLinksAreSaid(t *testing.T) {
	testlan.Need(t)
	log := &buffer{}
	l := links{names: []string{"lo", "eth9"}, log: slog.New(slog.NewTextHandler(log, nil))}
	eth0 := discover.Interface{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("fe80::1/64")}}
	if got := fmt.Sprint(l.addrs()); got != "[127.0.0.1 ::1]" {
		t.Errorf("before the links are known, addrs() = %s, want the loopback's", got)
	}

	l.update(nil)
	l.update(nil)
	l.update([]discover.Interface{{Name: "eth1"}})
	l.update([]discover.Interface{eth0})
	l.update([]discover.Interface{eth0})
	said := log.String()
	for want, times := range map[string]int{"no such link; waiting for it": 2, "interface=eth9": 2, "no link to answer on": 1, "answering on links": 1, "links=eth0": 1} {
		if n := strings.Count(said, want); n != times {
			t.Errorf("said %q %d times, want %d:\n%s", want, n, times, said)
		}
	}
	if got := fmt.Sprint(l.addrs()); got != "[192.0.2.1]" {
		t.Errorf("addrs() = %s, want the link's own, without the link-local one", got)
	}
}

func TestReport(t *testing.T) {
	r := report{
		Started:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Stats:     discover.Stats{Queries: 1, Answers: 2, Conflicts: 3, Challenges: 4, Links: 5},
		Announced: []announced{{"kms.local", "kms", 8443, []string{"_a._tcp", "_b._tcp"}, []netip.Addr{netip.MustParseAddr("192.0.2.5")}}, {"own.local", "own", 1, nil, nil}},
		Targets:   []targetReport{{"192.0.2.5:8443", true, time.Now(), ""}, {":1", false, time.Time{}, "refused"}},
	}
	var table, metrics bytes.Buffer
	if err := r.table(&table); err != nil {
		t.Fatal(err)
	}
	r.metrics(&metrics)
	for _, want := range []string{
		"kms.local  kms       8443  192.0.2.5        _a._tcp _b._tcp", "own.local  own       1     each link's own", "192.0.2.5:8443  up     0s ago",
		":1              down   -        refused",
		"Since 2026-01-02 03:04:05: heard 1 queries, sent 2 messages, changed 3 names, was challenged 4 times; answering on 5 links",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, table.String())
		}
	}
	for _, want := range []string{
		"latchkey_responder_queries_total 1\n", "latchkey_responder_answers_total 2\n", "latchkey_responder_conflicts_total 3\n", "latchkey_responder_challenges_total 4\n",
		"latchkey_responder_links 5\n", "latchkey_responder_announced 2\n", `latchkey_responder_target_up{target="192.0.2.5:8443"} 1`, `latchkey_responder_target_up{target=":1"} 0`,
	} {
		if !strings.Contains(metrics.String(), want) {
			t.Errorf("metrics lack %q:\n%s", want, metrics.String())
		}
	}
}

// Each row is what a responder may answer to status.
func TestStatus(t *testing.T) {
	for _, row := range []struct{ name, body, says string }{
		{"announced", `{"announced":[{"host":"kms.local"}]}`, ""},
		{"nothing", `{}`, "nothing is announced: no target is up"},
		{"nothing, for a reason", `{"problem":"Service keys/kms does not exist"}`, "nothing is announced: Service keys/kms does not exist"},
		{"no report", `<html>`, "reading the responder's report"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, row.body) }))
			defer server.Close()
			for _, asJSON := range []bool{false, true} {
				err := showStatus(t.Context(), io.Discard, strings.TrimPrefix(server.URL, "http://"), asJSON)
				if got := fmt.Sprint(err); row.says == "" && err != nil || row.says != "" && !strings.Contains(got, row.says) {
					t.Errorf("showStatus() = %v, want %q", err, row.says)
				}
			}
		})
	}
	l := loopback(t)
	l.Close()
	if err := showStatus(t.Context(), io.Discard, l.Addr().String(), false); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("showStatus() of nobody = %v, want a hint at --listen", err)
	}
}

func TestNotifyWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notify("READY=1"); err != nil {
		t.Errorf("notify() = %v without a service manager, want nil", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nosuch"))
	if err := notify("READY=1"); err == nil {
		t.Error("notify() = nil with a service manager that is not there, want an error")
	}
}

// --listen at an address that is taken ends the start.
func TestListenTaken(t *testing.T) {
	l := loopback(t)
	defer l.Close()
	o := options{targets: []string{":1"}, hosts: []string{"kms.local"}, check: "off", listen: l.Addr().String()}
	if err := run(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "--listen") {
		t.Errorf("run() = %v, want an error about --listen", err)
	}
}
