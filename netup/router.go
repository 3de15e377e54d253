package netup

import (
	"net/netip"
	"slices"
	"time"
)

// maxRouters bounds the routers of a link that are remembered; no LAN has
// more, but anybody on it can invent some.
const maxRouters = 16

// doubtTime is how long what routers said before the carrier was lost still
// counts when it is back: the link may be on another LAN.
const doubtTime = 10 * time.Second

// A Router is what a router advertised, as far as the kernel does not act
// on it itself.
type Router struct {
	Address     netip.Addr    // link-local
	Lifetime    time.Duration // as a default router; 0 is none: RFC 4861, section 6.3.4
	Managed     bool          // M: addresses by DHCPv6
	OtherConfig bool          // O: DNS by DHCPv6
	DNS         []Lasting[netip.Addr]
	Domains     []Lasting[string]
}

// A Lasting is something that counts for a time; 0 says that it does not
// count any more.
type Lasting[T comparable] struct {
	Value T
	For   time.Duration
}

// routers are what the routers of one link said and still counts, the first
// heard first. Each is told apart, so that one says nothing for another: RFC
// 4861, section 6.3.4, and RFC 8106, section 6.
type routers struct {
	list  []*heardRouter
	heard bool // one has spoken since the link was found
}

type heardRouter struct {
	address netip.Addr
	until   time.Time // as a default router
	dns     []expiring[netip.Addr]
	domains []expiring[string]
}

type expiring[T comparable] struct {
	value T
	until time.Time
}

// note takes an advertisement in. It tells whether the router is new.
func (rs *routers) note(r Router, now time.Time) (news bool) {
	rs.heard = true
	rs.expire(now)
	i := slices.IndexFunc(rs.list, func(h *heardRouter) bool { return h.address == r.Address })
	if i < 0 {
		if len(rs.list) == maxRouters || r.Lifetime == 0 && len(r.DNS)+len(r.Domains) == 0 {
			return false
		}
		i, news = len(rs.list), true
		rs.list = append(rs.list, &heardRouter{address: r.Address})
	}

	h := rs.list[i]
	h.until = now.Add(r.Lifetime)
	h.dns = renewed(h.dns, r.DNS, now, maxServers)
	h.domains = renewed(h.domains, r.Domains, now, maxDomains)
	rs.expire(now)
	return news
}

// renewed adds what was advertised to what counts, each for its own time;
// at most limit of them.
func renewed[T comparable](have []expiring[T], told []Lasting[T], now time.Time, limit int) []expiring[T] {
	for _, t := range told {
		i := slices.IndexFunc(have, func(e expiring[T]) bool { return e.value == t.Value })
		switch {
		case i >= 0:
			have[i].until = now.Add(t.For)
		case len(have) < limit:
			have = append(have, expiring[T]{t.Value, now.Add(t.For)})
		}
	}
	return have
}

// expire forgets what counts no more.
func (rs *routers) expire(now time.Time) {
	for _, h := range rs.list {
		h.dns = slices.DeleteFunc(h.dns, func(e expiring[netip.Addr]) bool { return !e.until.After(now) })
		h.domains = slices.DeleteFunc(h.domains, func(e expiring[string]) bool { return !e.until.After(now) })
	}
	rs.list = slices.DeleteFunc(rs.list, func(h *heardRouter) bool {
		return !h.until.After(now) && len(h.dns)+len(h.domains) == 0
	})
}

// each calls f with every time at which something ends.
func (rs *routers) each(f func(*time.Time)) {
	for _, h := range rs.list {
		f(&h.until)
		for i := range h.dns {
			f(&h.dns[i].until)
		}
		for i := range h.domains {
			f(&h.domains[i].until)
		}
	}
}

// expiry is when the next thing ends; zero if nothing does.
func (rs *routers) expiry(now time.Time) (next time.Time) {
	rs.each(func(t *time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = *t
		}
	})
	return next
}

// doubt makes all end soon that is not said again.
func (rs *routers) doubt(now time.Time) {
	rs.each(func(t *time.Time) {
		if end := now.Add(doubtTime); t.After(end) {
			*t = end
		}
	})
}

// gateways are the default routers.
func (rs *routers) gateways(now time.Time) (out []netip.Addr) {
	for _, h := range rs.list {
		if h.until.After(now) {
			out = append(out, h.address)
		}
	}
	return out
}

// servers are the DNS servers of all routers.
func (rs *routers) servers(now time.Time) (out []netip.Addr) {
	for _, h := range rs.list {
		for _, e := range h.dns {
			if e.until.After(now) {
				out = append(out, e.value)
			}
		}
	}
	return out
}

// domains are the search domains of all routers.
func (rs *routers) domains(now time.Time) (out []string) {
	for _, h := range rs.list {
		for _, e := range h.domains {
			if e.until.After(now) {
				out = append(out, e.value)
			}
		}
	}
	return out
}
