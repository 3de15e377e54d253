package netup

import (
	"bytes"
	"net/netip"
	"slices"

	"latchkey/internal/plan"
)

func (n *network) addLease(l *link, lease Lease) {
	n.do(l, AddAddr{Index: l.dev.Index, Prefix: lease.Address, Valid: lease.Valid})
	if lease.MTU != 0 && lease.MTU != l.dev.MTU && !slices.ContainsFunc(n.lines(l.dev), func(i plan.IP) bool { return i.MTU != 0 }) {
		n.do(l, SetMTU{l.dev.Index, lease.MTU})
	}
	for _, r := range n.leaseRoutes(l, lease) {
		n.do(l, r)
	}
}

// dropLease takes a lease off its link. Its routes would outlive it beside a
// link-local address.
func (n *network) dropLease(l *link, lease Lease) {
	for _, r := range n.leaseRoutes(l, lease) {
		n.undo(l, DelRoute(r))
	}
	n.undo(l, DelAddr{l.dev.Index, lease.Address})
}

// leaseRoutes are the routes of a lease. Those on the link come first:
// others lead over them.
func (n *network) leaseRoutes(l *link, lease Lease) []AddRoute {
	var out []AddRoute
	if len(lease.Gateways) > 0 {
		out = append(out, n.defaultRoute(l, lease.Gateways[0]))
	}
	for _, onLink := range []bool{true, false} {
		for _, r := range lease.Routes {
			if r.Via.IsValid() != onLink {
				out = append(out, AddRoute{l.dev.Index, r.To, r.Via, n.metric(l)})
			}
		}
	}
	return out
}

func (n *network) defaultRoute(l *link, via netip.Addr) AddRoute {
	everywhere := netip.PrefixFrom(via, 0).Masked()
	return AddRoute{l.dev.Index, everywhere, via, n.metric(l)}
}

// metric orders the default routes of several links: that of bootdev=
// first, else the link that the firmware booted from, then by index. Each
// link keeps its own.
func (n *network) metric(l *link) int {
	if n.settings.BootDev != "" && called(l.dev, n.settings.BootDev) {
		return 100
	}
	if n.settings.BootMAC != "" && bytes.Equal(hardware(l.dev), n.settings.BootMAC.HardwareAddr()) {
		return 200
	}
	return 1000 + l.dev.Index
}

// addRoutes sets the routes of rd.route= that lead over the link: those
// that name it, and those whose gateway it reaches.
func (n *network) addRoutes(l *link) {
	for _, r := range n.settings.Routes {
		reaches := slices.ContainsFunc(l.dev.Addrs, func(a Addr) bool { return r.Via.IsValid() && a.Contains(r.Via) })
		if r.Link != "" && called(l.dev, r.Link) || r.Link == "" && reaches {
			n.do(l, AddRoute{l.dev.Index, r.To, r.Via, n.metric(l)})
		}
	}
}
