package netup

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/internal/plan"
)

// localGrace is how long a link-local address stays beside a lease: what is
// being said through it comes to its end.
const localGrace = 30 * time.Second

// grant puts a lease on its link, or takes it off.
func (n *network) grant(ctx context.Context, l *link, lease *Lease) {
	was := l.lease
	if lease == nil && was == nil {
		return
	}

	l.lease = lease
	if was != nil && (lease == nil || lease.Address != was.Address) {
		n.dropLease(l, *was)
	}
	if lease == nil {
		n.log.Warn("lease ended; asking for another", "link", l.dev.Name, "address", was.Address.String())
		n.startLinkLocal(ctx, l, n.settings.Timeouts.OrDefaults().DHCP)
		return
	}

	l.last, l.granted = lease.Address.Addr(), l.since
	n.addLease(l, *lease)
	if was == nil || was.Address != lease.Address {
		n.guardLease(ctx, l, *lease)
		n.log.Info("link has an address", "link", l.dev.Name, "address", lease.Address.String(),
			"server", lease.Server.String(), "after_carrier", time.Since(l.since).Round(time.Microsecond))
	}
	n.endLinkLocal(ctx, l)
}

// guardLease looks whether another machine has the lease's address, and
// declines the lease if so: RFC 2131, section 4.4.1.
func (n *network) guardLease(ctx context.Context, l *link, lease Lease) {
	if len(l.dev.MAC) != 6 {
		return
	}
	post := n.post(ctx, l)
	g := &guard{arpClient: n.arp(l), addr: lease.Address, free: func() {}}
	g.taken = func(by net.HardwareAddr) {
		post(func(l *link) {
			n.log.Warn("another machine uses the address that DHCP gave this one", "link", l.dev.Name,
				"address", lease.Address.String(), "by", by.String())
			select {
			case l.client.declined <- lease.Address.Addr():
			default:
			}
		})
	}

	n.work(ctx, l, ARP, g.run)
}

// startLinkLocal takes an IPv4 link-local address if DHCP stays silent for
// after, or at once if the plan wants one. A
// lease from before the carrier was lost counts only when a server has
// granted it again: the link may be on another LAN now.
func (n *network) startLinkLocal(ctx context.Context, l *link, after time.Duration) {
	if len(l.dev.MAC) != 6 || l.endLocal != nil {
		return
	}
	ctx, l.endLocal = context.WithCancel(ctx)
	post := n.post(ctx, l)
	go func() {
		if pause(ctx, after) {
			post(func(l *link) { n.linkLocal(ctx, l) })
		}
	}()
}

// endLinkLocal gives a link-local address up, or the search for it, now that
// there is a lease: RFC 3927, section 1.9.
func (n *network) endLinkLocal(ctx context.Context, l *link) {
	if l.endLocal == nil || n.wantsLocal(l) {
		return
	}
	l.endLocal()
	l.endLocal = nil
	if !l.local.IsValid() {
		return
	}

	post := n.post(ctx, l)
	go func() {
		if pause(ctx, localGrace) {
			post(func(l *link) {
				if l.endLocal == nil {
					n.claim(l, netip.Prefix{})
				}
			})
		}
	}()
}

// wantsLocal tells whether the plan wants an IPv4 link-local address on the
// link, whatever DHCP says.
func (n *network) wantsLocal(l *link) bool {
	return slices.Contains(n.methods(l.dev), plan.Link4)
}

func (n *network) linkLocal(ctx context.Context, l *link) {
	if ctx.Err() != nil || l.lease != nil && l.granted == l.since && !n.wantsLocal(l) {
		return
	}
	post := n.post(ctx, l)
	client := &linkLocal4{
		arpClient: n.arp(l),
		claimed: func(p netip.Prefix) {
			post(func(l *link) {
				if ctx.Err() == nil {
					n.claim(l, p)
				}
			})
		},
	}
	n.work(ctx, l, ARP, client.run)
}

// claim puts a link-local address on its link; an invalid one takes it off.
func (n *network) claim(l *link, p netip.Prefix) {
	if l.local.IsValid() && l.local != p {
		n.undo(l, DelAddr{l.dev.Index, l.local})
	}
	l.local = p
	if p.IsValid() {
		n.do(l, AddAddr{Index: l.dev.Index, Prefix: p})
		n.log.Info("link has an address", "link", l.dev.Name, "address", p.String(), "after_carrier", time.Since(l.since).Round(time.Microsecond))
	}
}
