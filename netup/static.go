package netup

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/internal/plan"
)

// addStatic gives a link that has got carrier the addresses of the plan that
// are its own. For those of no link in particular it asks whether the link
// reaches the gateway; settle decides.
func (n *network) addStatic(ctx context.Context, l *link) {
	for _, line := range n.lines(l.dev) {
		switch {
		case !line.Address.IsValid():
		case line.Link != "" || n.homes[line.Address] == l.dev.Index:
			n.setStatic(ctx, l, line)
		}
		if line.Address.IsValid() && line.Link == "" {
			n.seek(ctx, l, line.Gateway)
		}
	}
}

func (n *network) setStatic(ctx context.Context, l *link, line plan.IP) {
	add := AddAddr{Index: l.dev.Index, Prefix: line.Address}
	// The kernel's ip= has the boot server where dracut's has the peer: an
	// address inside the prefix is no other end of a cable.
	if line.Peer.IsValid() && !line.Address.Contains(line.Peer) {
		add.Peer = line.Peer
	}

	n.do(l, add)
	n.guardStatic(ctx, l, line, add)
	if line.Gateway.IsValid() {
		n.do(l, n.defaultRoute(l, line.Gateway))
	}
}

// settle gives each address of the plan that names no link to one link, as
// the kernel does (net/ipv4/ipconfig.c): on two it would be there twice. That
// is the link on which the gateway has answered, else the first with carrier
// in the order of metric. An address whose cable was pulled moves on.
func (n *network) settle() {
	for _, line := range n.settings.IPs {
		if line.Link != "" || !line.Address.IsValid() {
			continue
		}
		now := n.links[n.homes[line.Address]]
		best := n.best(line, now)
		if best == nil || best == now {
			continue
		}

		if now != nil {
			n.log.Info("address moves to another link", "address", line.Address.String(), "link", best.dev.Name, "from", now.dev.Name)
			n.do(now, DelAddr{now.dev.Index, line.Address})
			if line.Gateway.IsValid() {
				n.undo(now, DelRoute(n.defaultRoute(now, line.Gateway)))
			}
		}
		n.homes[line.Address] = best.dev.Index
		n.setStatic(best.ctx, best, line)
	}
}

// best returns the link that should have the address of a line, nil if none
// has carrier.
func (n *network) best(line plan.IP, now *link) *link {
	var best *link
	for _, l := range n.links {
		unnamed := slices.ContainsFunc(n.lines(l.dev), func(i plan.IP) bool { return i.Link == "" })
		if l.cancel == nil || l.bare || !unnamed {
			continue
		}
		better := best == nil || n.metric(l) < n.metric(best)
		if best != nil && l.heard[line.Gateway] != best.heard[line.Gateway] {
			better = l.heard[line.Gateway]
		} else if best != nil && l.heard[line.Gateway] && (l == now || best == now) {
			better = l == now // both reach it: it stays
		}
		if better {
			best = l
		}
	}
	return best
}

// seek looks whether the link reaches a gateway.
func (n *network) seek(ctx context.Context, l *link, gateway netip.Addr) {
	if !gateway.Is4() || len(l.dev.MAC) != 6 {
		return
	}
	post := n.post(ctx, l)
	s := &seeker{arpClient: n.arp(l), addr: gateway, found: func() {
		post(func(l *link) {
			if l.heard == nil {
				l.heard = map[netip.Addr]bool{}
			}
			l.heard[gateway] = true
		})
	}}
	n.work(ctx, l, ARP, s.run)
}

// A seeker asks for an address until somebody on the link has it.
type seeker struct {
	arpClient
	addr  netip.Addr
	found func()
}

func (s *seeker) run(ctx context.Context, conn net.PacketConn) {
	defer s.use(ctx, conn)()
	for wait := guardWait; ctx.Err() == nil; wait = min(2*wait, lastRetry) {
		s.ask(netip.IPv4Unspecified(), s.addr)
		heard, err := s.hear(ctx, wait, func(a arpPacket) bool { return a.senderAddr == s.addr })
		if heard {
			s.found()
			return
		}
		if err != nil && !pause(ctx, time.Second) { // the link is going down
			return
		}
	}
}

// guardStatic looks whether another machine has an address of the plan; it
// is taken off while that is so.
func (n *network) guardStatic(ctx context.Context, l *link, line plan.IP, add AddAddr) {
	if len(l.dev.MAC) != 6 || !add.Prefix.Addr().Is4() {
		return
	}
	post := n.post(ctx, l)
	has := func(l *link) bool { return line.Link != "" || n.homes[line.Address] == l.dev.Index }
	n.work(ctx, l, ARP, (&guard{
		arpClient: n.arp(l), addr: add.Prefix,
		taken: func(by net.HardwareAddr) {
			post(func(l *link) {
				if !has(l) {
					return
				}
				n.log.Warn("another machine uses this machine's address; waiting until it stops", "link", l.dev.Name,
					"address", add.Prefix.String(), "by", by.String())
				n.do(l, DelAddr{l.dev.Index, add.Prefix})
			})
		},
		free: func() {
			post(func(l *link) {
				if has(l) {
					n.setStatic(ctx, l, line)
				}
			})
		},
	}).run)
}
