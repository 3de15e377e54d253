package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

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
