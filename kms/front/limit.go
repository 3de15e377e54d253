package front

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
)

// Limits are connections that may be open at once: protocol.md, "Limits".
// A LAN's IPv6 hosts share a /64, so on-link ones are counted by address
// only. Zero is the default.
type Limits struct {
	PerAddress int // 16
	PerNetwork int // 256, of an IPv6 /64 that is not on our links
	InAll      int // 1,024
}

func (l Limits) orDefault() Limits {
	return Limits{cmp.Or(l.PerAddress, 16), cmp.Or(l.PerNetwork, 256), cmp.Or(l.InAll, 1024)}
}

// A limiter bounds the connections of a listener at once. When one is
// too many, the oldest that has not yet sent a whole request makes room: a
// node sends its request in milliseconds, one who holds connections open
// does not.
type limiter struct {
	most    Limits
	proxies []netip.Prefix // counted in all only: they speak for many

	mu       sync.Mutex
	open     map[*limited]struct{}
	waiting  waitlist // those that have not sent a request, oldest first
	address  map[netip.Addr]int
	networks map[netip.Prefix]int
	parked   parking
}

func newLimiter(o Options) *limiter {
	return &limiter{
		most: o.Limits.orDefault(), proxies: o.Proxies,
		open: map[*limited]struct{}{}, address: map[netip.Addr]int{}, networks: map[netip.Prefix]int{},
		parked: newParking(),
	}
}

// admit counts a connection from an address, making room if it must; nil
// means that there is none to be made.
func (l *limiter) admit(conn net.Conn, from netip.Addr) *limited {
	c := &limited{Conn: conn, l: l}
	if from.IsValid() && !Contains(l.proxies, from) {
		c.addr, c.network = from.WithZone(""), networkOf(from)
	}
	l.mu.Lock()
	defer l.mu.Unlock()

	for _, over := range []struct {
		full  bool
		among func(*limited) bool
	}{
		{c.addr.IsValid() && l.address[c.addr] >= l.most.PerAddress, func(o *limited) bool { return o.addr == c.addr }},
		{c.network.IsValid() && l.networks[c.network] >= l.most.PerNetwork, func(o *limited) bool { return o.network == c.network }},
		{len(l.open) >= l.most.InAll, func(*limited) bool { return true }},
	} {
		if over.full && !l.evict(over.among) {
			return nil
		}
	}

	l.open[c] = struct{}{}
	l.waiting.push(c)
	l.address[c.addr]++
	if c.network.IsValid() {
		l.networks[c.network]++
	}

	return c
}

// networkOf is the /64 of an address that is not on our links.
func networkOf(a netip.Addr) netip.Prefix {
	if !a.Is6() || a.IsLinkLocalUnicast() || a.IsLoopback() {
		return netip.Prefix{}
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// evict closes the oldest waiting connection among some.
func (l *limiter) evict(among func(*limited) bool) bool {
	for c := l.waiting.first; c != nil; c = c.next {
		if among(c) {
			l.drop(c)
			c.Conn.Close()
			return true
		}
	}
	return false
}

// drop stops counting a connection. The caller holds the lock.
func (l *limiter) drop(c *limited) {
	if _, counted := l.open[c]; !counted {
		return
	}
	delete(l.open, c)
	l.waiting.remove(c)
	if l.address[c.addr]--; l.address[c.addr] == 0 {
		delete(l.address, c.addr)
	}
	if !c.network.IsValid() {
		return
	}
	if l.networks[c.network]--; l.networks[c.network] == 0 {
		delete(l.networks, c.network)
	}
}

// limited is a counted connection.
type limited struct {
	net.Conn
	l          *limiter
	addr       netip.Addr
	network    netip.Prefix
	first      []byte // read already, to see what the connection is
	prev, next *limited
	queued     bool
	parked     bool
}

// Read implements net.Conn.
func (c *limited) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *limited) Close() error {
	c.l.mu.Lock()
	c.l.drop(c)
	c.l.parked.leave(c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// connKey finds a request's connection in its context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// Serving marks the request's connection as one that has sent a whole
// request: it is no longer closed to make room, until the function that it
// returns is called.
func Serving(ctx context.Context) (done func()) {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	return ServingConn(conn)
}

// ServingConn is Serving for a connection at hand.
func ServingConn(conn net.Conn) (done func()) {
	c, ok := conn.(*limited)
	if !ok {
		return func() {}
	}
	c.l.mu.Lock()
	c.l.waiting.remove(c)
	c.l.mu.Unlock()
	return func() {
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		if _, counted := c.l.open[c]; counted {
			c.l.waiting.push(c)
		}
	}
}

// A waitlist keeps connections in the order in which they came to wait.
type waitlist struct{ first, last *limited }

func (q *waitlist) push(c *limited) {
	if c.queued {
		return
	}
	c.queued, c.prev, c.next = true, q.last, nil
	if q.last != nil {
		q.last.next = c
	} else {
		q.first = c
	}
	q.last = c
}

func (q *waitlist) remove(c *limited) {
	if !c.queued {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		q.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		q.last = c.prev
	}
	c.queued, c.prev, c.next = false, nil, nil
}
