package netup

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/boot/plan"
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

// open opens a socket for a worker; if that fails the link's workers are
// started again a second later.
func (n *network) open(l *link, p Protocol) net.PacketConn {
	conn, err := n.k.Open(l.dev.Index, p)
	if err != nil {
		n.log.Warn("asking for an address", "link", l.dev.Name, "error", err)
		l.lostCarrier()
		n.soon(time.Second)
		return nil
	}
	return conn
}

func (n *network) startDHCP(ctx context.Context, l *link) {
	conn := n.open(l, DHCP4)
	if conn == nil {
		return
	}
	post := n.post(ctx, l)
	client := &dhcp4{
		conn: conn, mac: l.dev.MAC, last: l.last, log: n.log.With("link", l.dev.Name),
		granted: func(lease *Lease) { post(func(l *link) { n.grant(l, lease) }) },
	}
	for _, line := range n.lines(l.dev) {
		client.hostname = line.Hostname
	}
	go func() {
		defer conn.Close()
		client.run(ctx)
	}()
}

// grant puts a lease on its link, or takes it off.
func (n *network) grant(l *link, lease *Lease) {
	was := l.lease
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
	conn := n.open(l, ARP)
	if conn == nil {
		return
	}
	post := n.post(ctx, l)
	client := &linkLocal4{
		conn: conn, mac: l.dev.MAC, log: n.log.With("link", l.dev.Name),
		claimed: func(p netip.Prefix) { post(func(l *link) { n.claim(l, p) }) },
	}
	go func() {
		defer conn.Close()
		client.run(ctx)
	}()
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
