package server

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// Connections that may be open at once: protocol.md, "Limits". A LAN's
// IPv6 hosts share a /64, so on-link ones are counted by address only.
const (
	maxPerAddress = 16
	maxPerNetwork = 256
	maxInAll      = 1024
)

// A limiter is a listener that bounds the connections at once. When one is
// too many, the oldest that has not yet sent a whole request makes room: a
// node sends its request in milliseconds, one who holds connections open
// does not.
type limiter struct {
	net.Listener

	mu       sync.Mutex
	open     map[*limited]struct{}
	waiting  waitlist // those that have not sent a request, oldest first
	address  map[netip.Addr]int
	networks map[netip.Prefix]int
}

// Limit puts the limits on connections before l.
func Limit(l net.Listener) net.Listener {
	return &limiter{Listener: l, open: map[*limited]struct{}{}, address: map[netip.Addr]int{}, networks: map[netip.Prefix]int{}}
}

// Accept implements net.Listener.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		conn.Close()
	}
}

// admit counts a connection, making room if it must; nil means that there
// is none to be made.
func (l *limiter) admit(conn net.Conn) *limited {
	c := &limited{Conn: conn, l: l}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		c.addr = a.Addr().Unmap().WithZone("")
		c.network = networkOf(a.Addr().Unmap())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, over := range []struct {
		full  bool
		among func(*limited) bool
	}{
		{l.address[c.addr] >= maxPerAddress, func(o *limited) bool { return o.addr == c.addr }},
		{c.network.IsValid() && l.networks[c.network] >= maxPerNetwork, func(o *limited) bool { return o.network == c.network }},
		{len(l.open) >= maxInAll, func(*limited) bool { return true }},
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
	prev, next *limited
	queued     bool
}

// Close implements net.Conn.
func (c *limited) Close() error {
	c.l.mu.Lock()
	c.l.drop(c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// connKey finds a request's connection in its context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// serving marks the request's connection as one that has sent a whole
// request: it is no longer closed to make room, until the function that it
// returns is called.
func serving(ctx context.Context) (done func()) {
	c, ok := ctx.Value(connKey{}).(*limited)
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
