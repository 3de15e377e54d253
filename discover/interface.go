package discover

import (
	"net/netip"
	"slices"

	"latchkey/discover/dns"
)

// An Interface is a network link as discovery needs to know it.
type Interface struct {
	Index   int // 0: no link, but DNS servers that the routes lead to
	Name    string
	Addrs   []netip.Prefix
	DNS     []netip.Addr // servers that this link's network named
	Domains []string
	MTU     int // bytes; 0 is Ethernet's
	// Epoch grows when others may have forgotten us, or we them: after the
	// link's carrier or the whole machine was away (RFC 6762, section 8).
	Epoch uint32
}

// zoned adds the zone that a link-local IPv6 address needs.
func zoned(a netip.Addr, l Interface) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(l.Name)
	}
	return a
}

// only returns the link with its addresses of one IP version, for mDNS.
func (i Interface) only(v6 bool) Interface {
	out := Interface{Index: i.Index, Name: i.Name, MTU: i.MTU, Epoch: i.Epoch}
	for _, p := range i.Addrs {
		if p.Addr().Is6() == v6 {
			out.Addrs = append(out.Addrs, p)
		}
	}
	return out
}

func (i Interface) equal(o Interface) bool {
	return i.Index == o.Index && i.Name == o.Name && i.MTU == o.MTU && i.Epoch == o.Epoch && slices.Equal(i.Addrs, o.Addrs) &&
		slices.Equal(i.DNS, o.DNS) && slices.Equal(i.Domains, o.Domains)
}

// has tells whether the link has an address of that IP version from which
// it can send.
func (i Interface) has(v6 bool) bool {
	for _, p := range i.Addrs {
		if a := p.Addr(); a.Is6() == v6 && (!v6 || a.IsLinkLocalUnicast()) {
			return true
		}
	}
	return false
}

// onLink tells whether an address is one of this link's networks: RFC 6762,
// section 11.
func (i Interface) onLink(from netip.Addr) bool {
	from = from.WithZone("").Unmap()
	if from.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range i.Addrs {
		if p.Contains(from) {
			return true
		}
	}
	return false
}

// owns tells whether an address is one of the link's own.
func (i Interface) owns(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr().WithZone("") == a })
}

// hasNetwork tells whether another machine's address can be one of the
// link's networks.
func (i Interface) hasNetwork(v6 bool) bool {
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 && !p.IsSingleIP() })
}

// payload is how many bytes of DNS fit into one packet: RFC 6762, section
// 17. Below the smallest MTU of IPv6 nothing is believed.
func (i Interface) payload(v6 bool) int {
	mtu := i.MTU
	if mtu == 0 {
		mtu = 1500
	}
	header := 20 + 8
	if v6 {
		header = 40 + 8
	}
	return min(max(mtu, 1280)-header, dns.MaxMessage-header)
}

func (i Interface) loopback() bool {
	for _, p := range i.Addrs {
		if p.Addr().IsLoopback() {
			return true
		}
	}
	return false
}
