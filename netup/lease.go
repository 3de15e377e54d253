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
	maxServers  = 8
	maxRoutes   = 64
	maxDomains  = 16
	minMTU      = 576 // RFC 2132, section 5.1: 68; below 576 no DHCP works
	maxMTU      = 9216
	minLease    = 30 * time.Second
	defaultTime = time.Hour // of a lease without option 51
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
	l.Renew = m.IPAddressRenewalTime(l.Valid / 2)
	if l.Renew <= 0 || l.Renew >= l.Valid {
		l.Renew = l.Valid / 2
	}

	return l, nil
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
