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
	cancel   context.CancelFunc // ends what runs while there is carrier
	since    time.Time          // the carrier came
	routed   []Addr             // the addresses when rd.route= was last looked at
	client   *dhcp4             // while there is carrier
	lease    *Lease             // of DHCPv4
	local    netip.Prefix       // IPv4 link-local
	router   Router             // as it told last
	dhcp6    Lease6
	asks6    time.Time  // since of the carrier for which DHCPv6 was started
	last     netip.Addr // of an earlier lease
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

// either is the default for IPv6: what the router advertises.
const either plan.Method = "advertised"

// methods are the ways in which a device gets addresses.
func (n *network) methods(d Device) []plan.Method {
	if len(n.settings.IPs) == 0 {
		return []plan.Method{plan.DHCP, either}
	}
	var out []plan.Method
	for _, line := range n.lines(d) {
		out = append(out, line.Methods...)
	}
	return out
}

// prepare does what must be done before a link is up.
func (n *network) prepare(l *link) {
	n.note(l)
	sysctls := slices.Clone(optimistic)
	if m := n.methods(l.dev); len(m) == 1 && m[0] == plan.Link6 {
		sysctls = append(sysctls, sysctl{"accept_ra", "0"})
	}
	for _, s := range sysctls {
		if err := n.k.Do(SetSysctl{l.dev.Index, "ipv6", s.key, s.value}); err != nil {
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

type sysctl struct{ key, value string }

// optimistic are the settings of RFC 4429: an address is usable while it
// is checked for duplicates, which takes a second or two.
var optimistic = []sysctl{{"optimistic_dad", "1"}, {"use_optimistic", "1"}}

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
		n.log.Warn("setting a link up", "link", l.dev.Name, "error", err)
	}
}

// gotCarrier starts asking for addresses.
func (n *network) gotCarrier(ctx context.Context, l *link) {
	l.failures = 0
	l.since = time.Now()
	n.log.Info("link has carrier", "link", l.dev.Name)
	ctx, l.cancel = context.WithCancel(ctx)
	n.addStatic(ctx, l)
	n.startWorkers(ctx, l)
}

// lostCarrier ends what runs on the link. Its addresses stay: most
// interruptions are short.
func (l *link) lostCarrier() {
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
}

func (n *network) addStatic(ctx context.Context, l *link) {
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
		n.guardStatic(ctx, l, add)
		if line.Gateway.IsValid() {
			n.do(l, n.defaultRoute(l, line.Gateway))
		}
	}
}
