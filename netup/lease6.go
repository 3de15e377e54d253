package netup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// A Lease6 is what a DHCPv6 server granted.
type Lease6 struct {
	Address netip.Addr // invalid when only settings were asked for
	Server  dhcpv6.DUID
	DNS     []netip.Addr
	Domains []string
	Renew   time.Duration // T1
	Rebind  time.Duration // T2
	Valid   time.Duration // of the address
}

var (
	errRefused6  = errors.New("DHCPv6 server refused the request")
	errNoBinding = errors.New("it does not know the lease")
)

// parseLease6 judges an answer with an address.
func parseLease6(m *dhcpv6.Message) (Lease6, error) {
	l := settings6(m)
	if s := m.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
		return l, fmt.Errorf("%w: %s", errRefused6, s.StatusCode)
	}

	ia := m.Options.OneIANA()
	if ia == nil {
		return l, fmt.Errorf("%w: no address in the answer", errRefused6)
	}
	if s := ia.Options.Status(); s != nil && s.StatusCode == iana.StatusNoBinding {
		return l, fmt.Errorf("%w: %w", errRefused6, errNoBinding)
	}

	for _, a := range ia.Options.Addresses() {
		addr, ok := netip.AddrFromSlice(a.IPv6Addr)
		if ok && addr.Is6() && isUnicast(addr) && !addr.IsLinkLocalUnicast() && a.ValidLifetime > 0 {
			l.Address, l.Valid = addr, max(a.ValidLifetime, minLease)
			l.Renew = within(ia.T1, l.Valid, l.Valid/2)
			l.Rebind = max(within(ia.T2, l.Valid, l.Valid/5*4), l.Renew)
			return l, nil
		}
	}

	return l, fmt.Errorf("%w: no usable address in the answer", errRefused6)
}

// settings6 reads what comes beside an address.
func settings6(m *dhcpv6.Message) Lease6 {
	l := Lease6{Server: m.Options.ServerID(), DNS: addrs6(m.Options.DNS())}
	if s := m.Options.DomainSearchList(); s != nil {
		for _, name := range s.Labels {
			if clean(name) != "" && len(l.Domains) < maxDomains && !slices.Contains(l.Domains, name) {
				l.Domains = append(l.Domains, name)
			}
		}
	}
	return l
}

func addrs6(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok && isUnicast(a) && len(out) < maxServers && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
