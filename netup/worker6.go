package netup

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"latchkey/internal/plan"
)

// startSolicitor asks for routers. The kernel makes the addresses and the
// default route of what they advertise; DNS and the flags are ours.
func (n *network) startSolicitor(ctx context.Context, l *link) {
	post := n.post(ctx, l)
	s := &solicitor{
		mac:  l.dev.MAC,
		told: func(r Router) { post(func(l *link) { n.router(ctx, l, r) }) },
	}
	n.work(ctx, l, NDP, s.run)
}

// router notes what a router advertised, and asks by DHCPv6 if it says so.
func (n *network) router(ctx context.Context, l *link, r Router) {
	now := time.Now()
	if l.routers.note(r, now) {
		n.log.Info("link has a router", "link", l.dev.Name, "router", r.Address.String(), "managed", r.Managed,
			"other_config", r.OtherConfig, "after_carrier", now.Sub(l.since).Round(time.Microsecond))
	}

	advertised := n.follows(l.dev) || slices.Contains(n.methods(l.dev), plan.Either6)
	switch {
	case advertised && r.Managed:
		n.startDHCP6(ctx, l, true)
	case advertised && r.OtherConfig:
		n.startDHCP6(ctx, l, false)
	}
}

// startEither asks by DHCPv6 if no router has given the link an address
// in time.
func (n *network) startEither(ctx context.Context, l *link) {
	after := n.settings.Timeouts.OrDefaults().IPv6Auto
	post := n.post(ctx, l)
	go func() {
		if !pause(ctx, after) {
			return
		}
		post(func(l *link) {
			if !slices.ContainsFunc(l.dev.Addrs, isGlobal6) {
				n.startDHCP6(ctx, l, true)
			}
		})
	}()
}

func isGlobal6(a Addr) bool { return a.Addr().Is6() && !a.Addr().IsLinkLocalUnicast() }

// startDHCP6 asks by DHCPv6, once while there is carrier. A client that asks
// for settings only gives way to one that asks for an address, too: the
// first router may have spoken of less than the next.
func (n *network) startDHCP6(ctx context.Context, l *link, stateful bool) {
	if l.client6 != nil && (l.client6.stateful || !stateful) {
		return
	}
	if l.cancel6 != nil {
		l.cancel6()
	}

	ctx, l.cancel6 = context.WithCancel(ctx)
	post := n.post(ctx, l)
	client := &dhcp6{mac: l.dev.MAC, stateful: stateful, last: l.dhcp6.Address, log: n.log.With("link", l.dev.Name)}
	client.granted = func(lease Lease6) {
		post(func(l *link) {
			if l.client6 == client {
				n.grant6(l, lease)
			}
		})
	}
	l.client6 = client
	n.work(ctx, l, DHCP6, client.run)
}

// grant6 puts a DHCPv6 lease on its link, or takes it off.
func (n *network) grant6(l *link, lease Lease6) {
	was := l.dhcp6
	l.dhcp6 = lease
	if was.Address.IsValid() && was.Address != lease.Address {
		n.undo(l, DelAddr{l.dev.Index, n.prefix6(l, was.Address)})
	}
	if !lease.Address.IsValid() {
		return
	}
	n.do(l, AddAddr{Index: l.dev.Index, Prefix: n.prefix6(l, lease.Address), Valid: lease.Valid})
	if was.Address != lease.Address {
		n.log.Info("link has an address", "link", l.dev.Name, "address", lease.Address.String(),
			"after_carrier", time.Since(l.since).Round(time.Microsecond))
	}
}

// prefix6 is the prefix that a DHCPv6 address is set with. What is on the
// link only a router tells (RFC 5942); where none speaks, the usual /64 is
// assumed, since nothing could be reached otherwise.
func (n *network) prefix6(l *link, a netip.Addr) netip.Prefix {
	for _, have := range l.dev.Addrs {
		if have.Addr() == a {
			return have.Prefix
		}
	}
	if l.routers.heard {
		return netip.PrefixFrom(a, 128)
	}
	return netip.PrefixFrom(a, 64)
}
