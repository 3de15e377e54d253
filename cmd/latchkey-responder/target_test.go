package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// Under the machine's own name the addresses are announced as avahi-daemon
// does it; only there, and only its own. faults/network.md D4.
func TestOwnName(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(name, ".")
	for _, row := range []struct {
		host, addr string
		want       bool
	}{
		{strings.ToUpper(first) + ".local", ":1", true},
		{first + ".local.", ":1", true},
		{first + ".local", "192.0.2.5:1", false},
		{"other-" + first + ".local", ":1", false},
	} {
		addr, err := parseTarget(row.addr)
		if err != nil {
			t.Fatal(err)
		}
		all := new(options).announcements([]target{{row.host, addr, ""}}, func(netip.AddrPort) bool { return true })
		if all[0].OwnName != row.want {
			t.Errorf("%s at %s: OwnName = %v, want %v", row.host, row.addr, all[0].OwnName, row.want)
		}
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
