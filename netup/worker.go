package netup

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/internal/plan"
)

// startWorkers starts what asks for addresses while there is carrier. All
// ask at once, and none waits for another.
func (n *network) startWorkers(ctx context.Context, l *link) {
	methods := n.methods(l.dev)
	if slices.Contains(methods, plan.DHCP) {
		n.startDHCP(ctx, l)
		n.startLinkLocal(ctx, l)
	}
	asks := func(m plan.Method) bool { return slices.Contains(methods, m) }
	if asks(either) || asks(plan.Auto6) || asks(plan.Either6) || asks(plan.DHCP6) {
		n.startSolicitor(ctx, l)
	}

	if asks(plan.DHCP6) {
		n.startDHCP6(ctx, l, true)
	}
	if asks(plan.Either6) {
		n.startEither(ctx, l)
	}
}

// work runs one protocol's client on a link, with a socket of its own. A
// socket that cannot be opened is tried again, and nothing else waits for
// it; a protocol that this kernel lacks is left out.
func (n *network) work(ctx context.Context, l *link, p Protocol, run func(context.Context, net.PacketConn)) {
	index, name := l.dev.Index, l.dev.Name
	go func() {
		for wait := time.Second; ; wait = min(2*wait, lastRetry) {
			conn, err := n.k.Open(index, p)
			if err == nil {
				defer conn.Close()
				run(ctx, conn)
				return
			}
			if errors.Is(err, errors.ErrUnsupported) {
				n.log.Debug("asking for an address", "link", name, "error", err)
				return
			}

			n.log.Warn("asking for an address", "link", name, "error", err, "again_in", wait)
			if !pause(ctx, wait) {
				return
			}
		}
	}()
}

func (n *network) startDHCP(ctx context.Context, l *link) {
	post := n.post(ctx, l)
	client := &dhcp4{
		mac: l.dev.MAC, last: l.last, log: n.log.With("link", l.dev.Name),
		granted:  func(lease *Lease) { post(func(l *link) { n.grant(ctx, l, lease) }) },
		declined: make(chan netip.Addr, 1),
	}
	for _, line := range n.lines(l.dev) {
		client.hostname = cmp.Or(client.hostname, line.Hostname)
	}
	l.client = client
	n.work(ctx, l, DHCP4, client.run)
}

func (n *network) arp(l *link) arpClient {
	return arpClient{mac: l.dev.MAC, log: n.log.With("link", l.dev.Name)}
}

// guardLease looks whether another machine has the lease's address, and
// declines the lease if so: RFC 2131, section 4.4.1.
func (n *network) guardLease(ctx context.Context, l *link, lease Lease) {
	if len(l.dev.MAC) != 6 {
		return
	}
	post := n.post(ctx, l)
	g := &guard{arpClient: n.arp(l), addr: lease.Address.Addr(), free: func() {}}
	g.taken = func() {
		post(func(l *link) {
			n.log.Warn("another machine has the leased address", "link", l.dev.Name, "address", lease.Address.String())
			select {
			case l.client.declined <- lease.Address.Addr():
			default:
			}
		})
	}

	n.work(ctx, l, ARP, g.run)
}

// guardStatic looks whether another machine has an address of the plan; it
// is taken off while that is so.
func (n *network) guardStatic(ctx context.Context, l *link, add AddAddr) {
	if len(l.dev.MAC) != 6 || !add.Prefix.Addr().Is4() {
		return
	}
	post := n.post(ctx, l)
	n.work(ctx, l, ARP, (&guard{
		arpClient: n.arp(l), addr: add.Prefix.Addr(),
		taken: func() {
			post(func(l *link) {
				n.log.Warn("another machine has the address", "link", l.dev.Name, "address", add.Prefix.String())
				n.do(l, DelAddr{l.dev.Index, add.Prefix})
			})
		},
		free: func() { post(func(l *link) { n.addStatic(ctx, l) }) },
	}).run)
}

// grant puts a lease on its link, or takes it off.
func (n *network) grant(ctx context.Context, l *link, lease *Lease) {
	was := l.lease
	if lease == nil && was == nil {
		return
	}

	l.lease = lease
	if was != nil && (lease == nil || lease.Address != was.Address) {
		n.do(l, DelAddr{l.dev.Index, was.Address})
	}
	if lease == nil {
		n.log.Warn("lease ended", "link", l.dev.Name)
		return
	}

	l.last = lease.Address.Addr()
	n.addLease(l, *lease)
	if was == nil || was.Address != lease.Address {
		n.guardLease(ctx, l, *lease)
	}
	if was == nil {
		n.log.Info("link has an address", "link", l.dev.Name, "address", lease.Address.String(),
			"server", lease.Server.String(), "after_carrier", time.Since(l.since).Round(time.Microsecond))
	}
}

// startLinkLocal takes an IPv4 link-local address if DHCP stays silent.
func (n *network) startLinkLocal(ctx context.Context, l *link) {
	if len(l.dev.MAC) != 6 || l.lease != nil {
		return
	}
	after := linkLocalAfter
	if n.settings.Timeouts.DHCP > 0 {
		after = n.settings.Timeouts.DHCP
	}
	post := n.post(ctx, l)
	go func() {
		if pause(ctx, after) {
			post(func(l *link) { n.linkLocal(ctx, l) })
		}
	}()
}

func (n *network) linkLocal(ctx context.Context, l *link) {
	if l.lease != nil {
		return
	}
	post := n.post(ctx, l)
	client := &linkLocal4{
		arpClient: n.arp(l),
		claimed:   func(p netip.Prefix) { post(func(l *link) { n.claim(l, p) }) },
	}
	n.work(ctx, l, ARP, client.run)
}

// claim puts a link-local address on its link; an invalid one takes it
// off. A lease that came meanwhile does not remove it: somebody may be
// talking through it.
func (n *network) claim(l *link, p netip.Prefix) {
	if l.local.IsValid() && l.local != p {
		n.do(l, DelAddr{l.dev.Index, l.local})
	}
	l.local = p
	if p.IsValid() {
		n.do(l, AddAddr{Index: l.dev.Index, Prefix: p})
		n.log.Info("link has an address", "link", l.dev.Name, "address", p.String(), "after_carrier", time.Since(l.since).Round(time.Microsecond))
	}
}
