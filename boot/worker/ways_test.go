package worker

import (
	"net/netip"
	"testing"

	"latchkey/discover"
)

func TestWays(t *testing.T) {
	both := func(addrs ...string) (f families) {
		for _, a := range addrs {
			f.note(netip.MustParseAddr(a))
		}
		return f
	}
	for _, c := range []struct {
		what      string
		links     ways
		addr      string
		seenOn    string
		elsewhere bool
		want      string
		ok        bool
	}{
		{"the link has an address", ways{"eth0": both("192.0.2.9")}, "192.0.2.1:7741", "eth0", false, "eth0", true},
		{"found by IPv6 before DHCP answered", ways{"eth0": both("fe80::1")}, "192.0.2.1:7741", "eth0", false, "", false},
		{"and no other link", ways{"eth0": both("fe80::1")}, "192.0.2.1:7741", "eth0", true, "", false},
		{"a link-local IPv4 address counts", ways{"eth0": both("169.254.3.4")}, "192.0.2.1:7741", "eth0", false, "eth0", true},
		{"another link is faster", ways{"eth0": {}, "eth1": both("198.51.100.7")}, "192.0.2.1:7741", "eth0", false, "", false},
		{"another link must do", ways{"eth0": {}, "eth1": both("198.51.100.7")}, "192.0.2.1:7741", "eth0", true, "", true},
		{"the link has an address, and led nowhere", ways{"eth0": both("169.254.3.4"), "eth1": both("198.51.100.7")}, "192.0.2.1:7741", "eth0", true, "", true},
		{"the link led nowhere, and is the only one", ways{"eth0": both("192.0.2.9"), "eth1": both("fe80::2")}, "192.0.2.1:7741", "eth0", true, "eth0", true},
		{"link-local IPv6 is of its link", ways{"eth0": {}, "eth1": both("fe80::1")}, "[fe80::5%eth0]:7741", "eth0", true, "", false},
		{"link-local IPv6", ways{"eth0": both("fe80::1")}, "[fe80::5%eth0]:7741", "eth0", false, "eth0", true},
		{"link-local IPv6 does not reach further", ways{"eth0": both("fe80::1")}, "[2001:db8::1]:7741", "eth0", false, "", false},
		{"IPv6", ways{"eth0": both("fe80::1", "2001:db8::9")}, "[2001:db8::1]:7741", "eth0", false, "eth0", true},
		{"a URL, nothing yet", ways{"eth0": both("fe80::1")}, "192.0.2.1:7741", "", false, "", false},
		{"a URL", ways{"eth0": both("192.0.2.9")}, "203.0.113.1:7741", "", false, "", true},
		{"no links", nil, "192.0.2.1:7741", "eth0", true, "", false},
	} {
		got, ok := c.links.choose(discover.Candidate{Addr: netip.MustParseAddrPort(c.addr), Link: c.seenOn}, c.elsewhere)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: over %q %v, want %q %v", c.what, got, ok, c.want, c.ok)
		}
	}
}
