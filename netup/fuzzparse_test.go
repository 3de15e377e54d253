package netup_test

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"latchkey/netup"
)

// These targets call the parsers of what anybody on the LAN can send, one
// each, thousands of times a second; FuzzPacket runs a whole client.

// usable tells whether a can be the address of a host.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}

// checkNames wants names that can stand in a file, a log line and a query.
func checkNames(t *testing.T, names []string) {
	t.Helper()
	for _, s := range names {
		if s == "" || len(s) > 253 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`'"\;$`, r) }) {
			t.Errorf("the name %q was taken", s)
		}
	}
}

func checkServers(t *testing.T, servers []netip.Addr, limit int) {
	t.Helper()
	if len(servers) > limit {
		t.Errorf("%d servers, want at most %d", len(servers), limit)
	}
	for _, a := range servers {
		if !usable(a) {
			t.Errorf("the server %s was taken", a)
		}
	}
}

func FuzzRA(f *testing.F) {
	f.Add(ra(managed|otherConfig, 1800, rdnss(600, "2001:db8::53", "2001:db8::54"), dnssl(300, "org")))
	f.Add(ra(0, 0, []byte{25, 0}))
	f.Add(ra(0, 65535, rdnss(^uint32(0), "ff02::1", "::1", "::"), dnssl(0, "a'b")))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := netup.ParseRA(p)
		if err != nil {
			return
		}
		if r.Lifetime < 0 || r.Lifetime > 65535*time.Second {
			t.Errorf("lifetime %s", r.Lifetime)
		}
		var servers []netip.Addr
		for _, s := range r.DNS {
			servers = append(servers, s.Value)
			if s.For < 0 {
				t.Errorf("%s for %s", s.Value, s.For)
			}
		}
		checkServers(t, servers, 8)
		var domains []string
		for _, d := range r.Domains {
			domains = append(domains, d.Value)
		}
		checkNames(t, domains)
		if len(domains) > 16 {
			t.Errorf("%d domains, want at most 16", len(domains))
		}
	})
}

func FuzzARP(f *testing.F) {
	if p, err := hex.DecodeString("0001080006040002020000000009c000020900000000000000000000"); err == nil {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		a, err := netup.ParseARP(p)
		if err != nil {
			return
		}
		mac, addr := a.Sender()
		if mac != net.HardwareAddr(p[8:14]).String() || addr != netip.AddrFrom4([4]byte(p[14:18])).String() {
			t.Errorf("ParseARP(%x) is from %s, %s", p, mac, addr)
		}
	})
}

func FuzzUDP(f *testing.F) {
	f.Add(udp(testServer, []byte("payload")))
	f.Add(udp(testServer, nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		payload, from, err := netup.UnwrapUDP(p)
		if err == nil && (len(payload) > len(p)-28 || !bytes.Contains(p, payload) || !from.Is4()) {
			t.Errorf("UnwrapUDP(%x) = %x from %s", p, payload, from)
		}
	})
}

func FuzzLease4(f *testing.F) {
	for _, o := range []dhcpv4.Modifier{
		dhcpv4.WithLeaseTime(3600), dhcpv4.WithDomainSearchList("example.org", "a'b"), dhcpv4.WithDNS(net.IPv4(192, 0, 2, 53), net.IPv4zero),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{24, 10, 1, 2, 192, 0, 2, 1, 33, 1})),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionOptionOverload, []byte{3})),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{2, 64})), dhcpv4.WithNetmask(net.CIDRMask(0, 32)),
	} {
		m, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 9)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))), o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.ToBytes())
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		_, l, err := netup.ParseLease(p)
		if err != nil {
			return
		}
		if !usable(l.Address.Addr()) || !l.Address.Addr().Is4() || l.Address.Bits() < 1 || !usable(l.Server) {
			t.Errorf("lease %s of %s", l.Address, l.Server)
		}
		if l.MTU != 0 && (l.MTU < 1280 || l.MTU > 9216) || l.Renew <= 0 || l.Rebind < l.Renew || l.Valid < l.Rebind {
			t.Errorf("MTU %d, T1 %s, T2 %s, %s", l.MTU, l.Renew, l.Rebind, l.Valid)
		}
		checkServers(t, l.DNS, 8)
		checkServers(t, l.Gateways, 8)
		checkNames(t, l.Domains)
		if l.Hostname != "" {
			checkNames(t, []string{l.Hostname})
		}
		for _, r := range l.Routes {
			if !r.To.IsValid() || !r.To.Addr().Is4() {
				t.Errorf("route %+v", r)
			}
		}
	})
}

func FuzzLease6(f *testing.F) {
	solicit := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	solicit.AddOption(dhcpv6.OptClientID(duid(7)))
	solicit.AddOption(&dhcpv6.OptIANA{})
	for _, address := range []string{"2001:db8::9", "ff02::1", "::1"} {
		f.Add(grants(1, address, dhcpv6.OptDNS(net.ParseIP("2001:db8::53")))(solicit).ToBytes())
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := dhcpv6.MessageFromBytes(p)
		if err != nil {
			return
		}
		l, err := netup.ParseLease6(m)
		checkServers(t, l.DNS, 8)
		checkNames(t, l.Domains)
		if err != nil {
			return
		}
		if !usable(l.Address) || !l.Address.Is6() || l.Renew <= 0 || l.Rebind < l.Renew || l.Valid < l.Rebind {
			t.Errorf("lease %s, T1 %s, T2 %s, %s", l.Address, l.Renew, l.Rebind, l.Valid)
		}
	})
}
