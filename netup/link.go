package netup

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"latchkey/boot/plan"
)

// A link is a device that netup has set up.
type link struct {
	dev      Device
	prepared bool
	tryUp    time.Time // not before
	failures int
	cancel   context.CancelFunc // ends what runs while there is carrier
	since    time.Time          // the carrier came
	lease    *Lease
	last     netip.Addr
}

// grant is what a DHCP client has got; lease is nil when it ended.
type grant struct {
	index int
	since time.Time // tells an old carrier's client from the present one
	lease *Lease
}

// lines are the ip= lines for a device: those that name it, else those
// that name no link.
func (n *network) lines(d Device) []plan.IP {
	var named, all []plan.IP
	for _, line := range n.settings.IPs {
		switch line.Link {
		case d.Name:
			named = append(named, line)
		case "":
			all = append(all, line)
		}
	}
	if named != nil {
		return named
	}
	return all
}

// methods are the ways in which a device gets addresses.
func (n *network) methods(d Device) []plan.Method {
	if len(n.settings.IPs) == 0 {
		return []plan.Method{plan.DHCP}
	}
	var out []plan.Method
	for _, line := range n.lines(d) {
		out = append(out, line.Methods...)
	}
	return out
}

// optimistic are the settings of RFC 4429: an address is usable while it
// is checked for duplicates, which takes a second or two.
var optimistic = []string{"optimistic_dad", "use_optimistic"}

// prepare does what must be done before a link is up, and notes on the
// link how it was.
func (n *network) prepare(l *link) {
	if _, noted := parseNote(l.dev.Alias); !noted {
		was := note{name: l.dev.Name, mtu: l.dev.MTU, mac: l.dev.MAC.String()}
		n.do(l, SetAlias{l.dev.Index, was.String()})
	}
	for _, key := range optimistic {
		if err := n.k.Do(SetSysctl{l.dev.Index, "ipv6", key, "1"}); err != nil {
			n.log.Debug("preparing a link", "link", l.dev.Name, "error", err)
		}
	}
	for _, line := range n.lines(l.dev) {
		if line.MTU != 0 && line.MTU != l.dev.MTU {
			n.do(l, SetMTU{l.dev.Index, line.MTU})
		}
		if line.MAC != "" {
			n.do(l, SetMAC{l.dev.Index, line.MAC.HardwareAddr()})
		}
	}
}

// do carries out op; a failure is logged, and the boot goes on with what
// works.
func (n *network) do(l *link, op Op) {
	if err := n.k.Do(op); err != nil {
		n.log.Warn("setting a link up", "link", l.dev.Name, "error", err)
	}
}

// gotCarrier starts asking for addresses.
func (n *network) gotCarrier(ctx context.Context, l *link) {
	l.failures = 0
	l.since = time.Now()
	n.log.Info("link has carrier", "link", l.dev.Name)
	ctx, l.cancel = context.WithCancel(ctx)
	n.addStatic(l)
	if slices.Contains(n.methods(l.dev), plan.DHCP) {
		n.startDHCP(ctx, l)
	}
}

// lostCarrier ends what runs on the link. Its addresses stay: most
// interruptions are short.
func (l *link) lostCarrier() {
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
}

func (n *network) addStatic(l *link) {
	for _, line := range n.lines(l.dev) {
		if !line.Address.IsValid() {
			continue
		}
		add := AddAddr{Index: l.dev.Index, Prefix: line.Address}
		// The kernel's ip= has the boot server where dracut's has the peer:
		// an address inside the prefix is no other end of a cable.
		if line.Peer.IsValid() && !line.Address.Contains(line.Peer) {
			add.Peer = line.Peer
		}
		n.do(l, add)
		if line.Gateway.IsValid() {
			n.do(l, n.defaultRoute(l, line.Gateway))
		}
	}
}

func (n *network) startDHCP(ctx context.Context, l *link) {
	conn, err := n.k.Open(l.dev.Index, DHCP4)
	if err != nil {
		n.log.Warn("asking for an address", "link", l.dev.Name, "error", err)
		l.lostCarrier()
		n.soon(time.Second)
		return
	}
	index, since := l.dev.Index, l.since
	client := &dhcp4{
		conn: conn, mac: l.dev.MAC, last: l.last, log: n.log.With("link", l.dev.Name),
		granted: func(lease *Lease) {
			select {
			case n.grants <- grant{index, since, lease}:
			case <-ctx.Done():
			}
		},
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
func (n *network) grant(g grant) {
	l := n.links[g.index]
	if l == nil || l.since != g.since {
		return
	}
	if l.lease != nil && (g.lease == nil || g.lease.Address != l.lease.Address) {
		n.do(l, DelAddr{g.index, l.lease.Address})
	}
	fresh := l.lease == nil
	l.lease = g.lease
	if g.lease == nil {
		n.log.Warn("lease ended", "link", l.dev.Name)
		return
	}
	l.last = g.lease.Address.Addr()
	n.addLease(l, *g.lease)
	if fresh {
		n.log.Info("link has an address", "link", l.dev.Name, "address", g.lease.Address.String(),
			"server", g.lease.Server.String(), "after_carrier", time.Since(l.since).Round(time.Microsecond))
	}
}

func (n *network) addLease(l *link, lease Lease) {
	n.do(l, AddAddr{Index: l.dev.Index, Prefix: lease.Address, Valid: lease.Valid})
	if lease.MTU != 0 && lease.MTU != l.dev.MTU && !slices.ContainsFunc(n.lines(l.dev), func(i plan.IP) bool { return i.MTU != 0 }) {
		n.do(l, SetMTU{l.dev.Index, lease.MTU})
	}
	if len(lease.Gateways) > 0 {
		n.do(l, n.defaultRoute(l, lease.Gateways[0]))
	}
	// Routes on the link come first: others lead over them.
	for _, onLink := range []bool{true, false} {
		for _, r := range lease.Routes {
			if r.Via.IsValid() != onLink {
				n.do(l, AddRoute{l.dev.Index, r.To, r.Via, n.metric(l)})
			}
		}
	}
}

func (n *network) defaultRoute(l *link, via netip.Addr) AddRoute {
	everywhere := netip.PrefixFrom(via, 0).Masked()
	return AddRoute{l.dev.Index, everywhere, via, n.metric(l)}
}

// metric orders the default routes of several links: bootdev= first, then
// by index, so that each link keeps its own.
func (n *network) metric(l *link) int {
	if n.settings.BootDev == l.dev.Name {
		return 100
	}
	return 1000 + l.dev.Index
}
