package netup

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"latchkey/internal/plan"
)

// A link is a device that netup has set up.
type link struct {
	dev      Device
	found    time.Time
	prepared bool
	tryUp    time.Time // not before
	failures int
	ctx      context.Context     // stands while there is carrier
	cancel   context.CancelFunc  // ends it
	since    time.Time           // the carrier came
	routed   []Addr              // the addresses when rd.route= was last looked at
	bare     bool                // up, but without addresses: it carries others
	client   *dhcp4              // while there is carrier
	lease    *Lease              // of DHCPv4
	granted  time.Time           // since of the carrier for which the lease was granted
	local    netip.Prefix        // IPv4 link-local
	endLocal context.CancelFunc  // ends the search for it, and its defense
	heard    map[netip.Addr]bool // gateways that answered since the carrier came
	routers  routers
	wake     time.Time // something of routers ends
	dhcp6    Lease6
	client6  *dhcp6             // while there is carrier
	cancel6  context.CancelFunc // ends client6
	last     netip.Addr         // of an earlier lease
}

// An event is something that happened on a link while it had carrier.
type event struct {
	index int
	since time.Time // tells an old carrier's worker from the present one's
	apply func(*link)
}

// post hands an event of a link's worker to Run's goroutine.
func (n *network) post(ctx context.Context, l *link) func(apply func(*link)) {
	index, since := l.dev.Index, l.since
	return func(apply func(*link)) {
		select {
		case n.events <- event{index, since, apply}:
		case <-ctx.Done():
		}
	}
}

// lines are the ip= lines for a device: those that name it, else those
// that name no link.
func (n *network) lines(d Device) []plan.IP {
	var named, all []plan.IP
	for _, line := range n.settings.IPs {
		switch {
		case line.Link == "":
			all = append(all, line)
		case called(d, line.Link):
			named = append(named, line)
		}
	}
	if named != nil {
		return named
	}
	return all
}

// methods are the ways in which a device gets addresses.
func (n *network) methods(d Device) []plan.Method {
	if len(n.settings.IPs) == 0 || n.stranded {
		return []plan.Method{plan.DHCP}
	}
	var out []plan.Method
	for _, line := range n.lines(d) {
		out = append(out, line.Methods...)
	}
	return out
}

// follows tells whether the device does in IPv6 what the routers on the link
// say. It does unless the plan has another method for IPv6, or none at all
// for the device.
func (n *network) follows(d Device) bool {
	if len(n.settings.IPs) == 0 || n.stranded {
		return true
	}
	lines := n.lines(d)
	for _, line := range lines {
		for _, m := range line.Methods {
			if m != plan.DHCP && m != plan.Link4 && (m != plan.Static || !line.Address.Addr().Is4()) {
				return false
			}
		}
	}
	return len(lines) > 0
}

// prepare does what must be done before a link is up.
func (n *network) prepare(l *link) {
	n.note(l)
	sysctls := slices.Clone(linkSysctls)
	if m := n.methods(l.dev); len(m) == 1 && m[0] == plan.Link6 || slices.Contains(m, plan.Off6) {
		sysctls = append(sysctls, sysctl{"ipv6", "accept_ra", "0"})
	}
	if l.bare {
		sysctls = append(sysctls, sysctl{"ipv6", "disable_ipv6", "1"})
	}
	for _, s := range sysctls {
		if err := n.k.Do(SetSysctl{l.dev.Index, s.family, s.key, s.value}); err != nil {
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

type sysctl struct{ family, key, value string }

// linkSysctls are the settings of each link that is set up
// (Documentation/networking/ip-sysctl.rst).
var linkSysctls = []sysctl{
	// RFC 4429: an address is usable while it is checked for duplicates,
	// which takes a second or two.
	{"ipv6", "optimistic_dad", "1"},
	{"ipv6", "use_optimistic", "1"},
	// Linux answers ARP on each link for the addresses of all. With two
	// cables in one LAN that answers our own probes, and others learn the
	// wrong link's hardware address. So each link speaks for its own only.
	{"ipv4", "arp_ignore", "1"},
	{"ipv4", "arp_announce", "2"},
	// Routes over a cable that is pulled do not hide those of another link.
	{"ipv4", "ignore_routes_with_linkdown", "1"},
	{"ipv6", "ignore_routes_with_linkdown", "1"},
}

// otherSysctls are those that some links get.
var otherSysctls = []sysctl{{"ipv6", "accept_ra", "0"}, {"ipv6", "disable_ipv6", "1"}}

// note writes on the link how it was.
func (n *network) note(l *link) {
	if _, noted := parseNote(l.dev.Alias); noted {
		return
	}
	was := note{name: l.dev.Name, mtu: l.dev.MTU, mac: l.dev.MAC.String(), made: n.made(l.dev.Name)}
	l.dev.Alias = was.String()
	n.do(l, SetAlias{l.dev.Index, l.dev.Alias})
}

// do carries out op; a failure is logged, and the boot goes on with what
// works.
func (n *network) do(l *link, op Op) {
	if err := n.k.Do(op); err != nil {
		n.warn(l.dev.Name, "cannot set up the link", err)
	}
}

// undo is do for what may be gone already.
func (n *network) undo(l *link, op Op) {
	if err := n.k.Do(op); err != nil {
		n.log.Debug("taking something off a link", "link", l.dev.Name, "error", err)
	}
}

// gotCarrier starts asking for addresses.
func (n *network) gotCarrier(ctx context.Context, l *link) {
	l.failures = 0
	l.since = time.Now()
	n.log.Info("link has carrier", "link", l.dev.Name)
	ctx, l.cancel = context.WithCancel(ctx)
	l.ctx, l.heard, l.client6 = ctx, nil, nil
	l.routers.doubt(l.since)
	n.addStatic(ctx, l)
	n.startWorkers(ctx, l)
}

// lostCarrier ends what runs on the link. Its addresses stay: most
// interruptions are short.
func (l *link) lostCarrier() {
	if l.cancel != nil {
		l.cancel()
		l.cancel, l.endLocal, l.cancel6 = nil, nil, nil
	}
}
