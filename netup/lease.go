package netup

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Bounds of what a server may tell: RFC 2131 has no limits, a link has.
const (
	maxServers = 8
	maxRoutes  = 64
	maxDomains = 16
	// minMTU is what IPv6 needs (RFC 8200, section 5): below, the kernel
	// takes IPv6 off the link. Broken servers tell 576, a default of old.
	minMTU      = 1280
	maxMTU      = 9216
	minLease    = 4 * time.Second // shorter ones are asked for all the time
	defaultTime = time.Hour       // of a lease without option 51
)

// A Lease is what a DHCP server granted.
type Lease struct {
	Address  netip.Prefix
	Server   netip.Addr
	Gateways []netip.Addr
	Routes   []Route // classless static routes; then Gateways is empty: RFC 3442
	DNS      []netip.Addr
	Domains  []string
	MTU      int // 0 is not told
	Hostname string
	Renew    time.Duration // T1, from the grant
	Rebind   time.Duration // T2
	Valid    time.Duration
}

// A Route is a way to a network; Via is invalid for one on the link.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// parseLease judges an offer or acknowledgement.
func parseLease(m *dhcpv4.DHCPv4) (Lease, error) {
	address, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok || !isUnicast(address) {
		return Lease{}, fmt.Errorf("DHCP offers the address %s", m.YourIPAddr)
	}

	server, ok := netip.AddrFromSlice(m.ServerIdentifier().To4())
	if !ok || !isUnicast(server) {
		return Lease{}, fmt.Errorf("DHCP offer for %s names no server", address)
	}

	bits, all := m.SubnetMask().Size()
	if all != 32 || bits == 0 {
		bits = classBits(address)
	}
	l := Lease{
		Address: netip.PrefixFrom(address, bits), Server: server,
		Gateways: addrs(m.Router()), DNS: addrs(m.DNS()),
		Hostname: clean(m.HostName()),
	}

	l.Routes = routes(m)
	if len(l.Routes) > 0 {
		l.Gateways = nil
	}
	if raw := m.Options.Get(dhcpv4.OptionInterfaceMTU); len(raw) == 2 {
		if mtu := int(raw[0])<<8 | int(raw[1]); mtu >= minMTU && mtu <= maxMTU {
			l.MTU = mtu
		}
	}

	l.Domains = domains(m)
	l.Valid = max(m.IPAddressLeaseTime(defaultTime), minLease)
	// RFC 2131, section 4.4.5.
	l.Renew = within(m.IPAddressRenewalTime(0), l.Valid, l.Valid/2)
	l.Rebind = within(m.IPAddressRebindingTime(0), l.Valid, l.Valid/8*7)
	l.Rebind = max(l.Rebind, l.Renew)
	return l, nil
}

// within is t if it is one of a lease that is valid for so long, else usual.
func within(t, valid, usual time.Duration) time.Duration {
	if t <= 0 || t >= valid {
		return usual
	}
	return max(t, min(time.Second, usual))
}

// readDHCP reads a message. Options may go on in the fields of the boot
// file and of the server's name: option 52 of RFC 2132, in the order of RFC
// 3396, section 7.
func readDHCP(p []byte) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.FromBytes(p)
	if err != nil {
		return nil, err
	}
	overload := m.Options.Get(dhcpv4.OptionOptionOverload)
	if len(overload) != 1 {
		return m, nil
	}
	for _, field := range []struct {
		bit  byte
		data []byte
	}{{1, p[108:236]}, {2, p[44:108]}} {
		if overload[0]&field.bit == 0 {
			continue
		}
		if err := m.Options.FromBytes(field.data); err != nil {
			return nil, fmt.Errorf("reading DHCP options in place of a name: %w", err)
		}
	}
	return m, nil
}

// classBits is the mask of an address without one: RFC 791, section 3.2.
func classBits(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}

func addrs(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		a, ok := netip.AddrFromSlice(ip.To4())
		if ok && isUnicast(a) && len(out) < maxServers && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// routes reads option 121, else 249, the same by Microsoft.
func routes(m *dhcpv4.DHCPv4) []Route {
	raw := m.Options.Get(dhcpv4.OptionClasslessStaticRoute)
	if raw == nil {
		raw = m.Options.Get(dhcpv4.GenericOptionCode(249))
	}
	var list dhcpv4.Routes
	if raw == nil || list.FromBytes(raw) != nil {
		return nil
	}

	var out []Route
	for _, r := range list {
		to, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		via, okVia := netip.AddrFromSlice(r.Router.To4())
		bits, _ := r.Dest.Mask.Size()
		if !ok || !okVia || len(out) == maxRoutes {
			continue
		}
		route := Route{To: netip.PrefixFrom(to, bits).Masked()}
		if !via.IsUnspecified() { // 0.0.0.0: on the link
			route.Via = via
		}
		out = append(out, route)
	}

	return out
}

func domains(m *dhcpv4.DHCPv4) []string {
	var out []string
	if s := m.DomainSearch(); s != nil {
		out = slices.Clone(s.Labels)
	}
	if d := m.DomainName(); d != "" && !slices.Contains(out, d) {
		out = append(out, d)
	}
	out = slices.DeleteFunc(out, func(s string) bool { return clean(s) == "" })
	return out[:min(len(out), maxDomains)]
}

// clean returns s if it could be a host name, else "": what a server says
// ends in files and log lines.
func clean(s string) string {
	if len(s) > 253 {
		return ""
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return ""
		}
	}
	return s
}

// isUnicast tells whether a can be the address of a host on a LAN.
func isUnicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		!(a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240))
}
