package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"

	"latchkey/discover"
)

// links says in the log what the responder answers on, and what of
// --interface it does not, each time that changes.
type links struct {
	names []string // --interface
	log   *slog.Logger

	mu   sync.Mutex
	now  []discover.Interface
	said string
}

// update takes note of the links.
func (l *links) update(now []discover.Interface) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = now
	var on []string
	for _, i := range now {
		if len(i.Addrs) > 0 {
			on = append(on, i.Name)
		}
	}

	var unknown, all []string
	if len(l.names) > 0 { // else it costs a look at all links
		var err error
		if unknown, all, err = discover.UnknownNames(l.names); err != nil {
			return // --interface was checked at the start
		}
	}
	text := fmt.Sprint(on, unknown)
	if text == l.said {
		return
	}
	l.said = text
	if len(unknown) > 0 {
		l.log.Warn("this machine has no such link; waiting for it", "interface", strings.Join(unknown, ","), "links", strings.Join(all, ","))
	}
	if len(on) == 0 {
		l.log.Warn("no link to answer on: each is down, has no cable or no address; waiting for one")
		return
	}
	l.log.Info("answering on links", "links", strings.Join(on, ","))
}

// addrs are this machine's own addresses on those links; before they are
// known, the loopback's.
func (l *links) addrs() []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []netip.Addr
	for _, i := range l.now {
		for _, p := range i.Addrs {
			if a := p.Addr(); !a.IsLinkLocalUnicast() {
				out = append(out, a)
			}
		}
	}
	if len(out) == 0 {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return out
}
