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
	if slices.Contains(methods, plan.Link4) {
		n.startLinkLocal(ctx, l, 0)
	}
	if slices.Contains(methods, plan.DHCP) {
		n.startDHCP(ctx, l)
		n.startLinkLocal(ctx, l, n.settings.Timeouts.OrDefaults().DHCP)
	}
	asks := func(m plan.Method) bool { return slices.Contains(methods, m) }
	if n.follows(l.dev) || asks(plan.Auto6) || asks(plan.Either6) || asks(plan.DHCP6) {
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
				n.log.Debug("this kernel lacks a protocol", "link", name, "error", err)
				return
			}

			n.log.Debug("cannot open a socket on the link; trying again", "link", name, "error", err, "again_in", wait)
			if !pause(ctx, wait) {
				return
			}
		}
	}()
}

func (n *network) startDHCP(ctx context.Context, l *link) {
	post := n.post(ctx, l)
	index := l.dev.Index
	client := &dhcp4{
		mac: l.dev.MAC, last: l.last, log: n.log.With("link", l.dev.Name),
		direct:   func() (net.PacketConn, error) { return n.k.Open(index, Renew4) },
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
	return arpClient{mac: l.dev.MAC, own: n.own, log: n.log.With("link", l.dev.Name)}
}
