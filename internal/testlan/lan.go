package testlan

import (
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// queue is how many packets a member that does not read can miss before
// they are lost, as in a socket's buffer.
const queue = 512

// A LAN carries packets between its members, in memory. Used inside a
// synctest bubble its delays take no time.
type LAN struct {
	// Hears tells whether a member takes packets for an address.
	Hears func(member, to net.Addr) bool
	// Lose tells whether a packet gets lost on the way to a member; nil
	// loses none.
	Lose func(packet []byte, from, to net.Addr) bool
	// Delay is how long a packet travels; nil is no time.
	Delay func() time.Duration

	mu      sync.Mutex
	members []*Conn
	sent    int
}

type packet struct {
	data []byte
	from net.Addr
}

// A Conn is a member's connection, a net.PacketConn.
type Conn struct {
	lan      *LAN
	addr     net.Addr
	packets  chan packet
	closed   chan struct{}
	once     sync.Once
	deadline deadline
}

// Join adds a member with an address.
func (l *LAN) Join(addr net.Addr) *Conn {
	c := &Conn{lan: l, addr: addr, packets: make(chan packet, queue), closed: make(chan struct{})}
	c.deadline.set(time.Time{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members = append(l.members, c)
	return c
}

// Close takes all members off the LAN.
func (l *LAN) Close() {
	l.mu.Lock()
	members := slices.Clone(l.members)
	l.mu.Unlock()
	for _, m := range members {
		m.Close()
	}
}

// Sent is the number of packets that were sent so far.
func (l *LAN) Sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// Members is the number of connections that are open.
func (l *LAN) Members() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.members)
}

func (l *LAN) send(data []byte, from, to net.Addr) {
	l.mu.Lock()
	members := slices.Clone(l.members)
	l.sent++
	l.mu.Unlock()
	data = slices.Clone(data)
	for _, m := range members {
		if !l.Hears(m.addr, to) || l.lost(data, from, m.addr) {
			continue
		}
		p := packet{data, from}
		if l.Delay == nil {
			m.take(p)
			continue
		}
		time.AfterFunc(l.Delay(), func() { m.take(p) })
	}
}

// lost asks Lose, one packet at a time, so that it may keep a state.
func (l *LAN) lost(data []byte, from, to net.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Lose != nil && l.Lose(data, from, to)
}

func (c *Conn) take(p packet) {
	select {
	case c.packets <- p:
	default:
	}
}

// ReadFrom is the net.PacketConn method.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	over := c.deadline.wait()
	select {
	case <-over:
		return 0, nil, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, nil, net.ErrClosed
	default:
	}
	select {
	case p := <-c.packets:
		return copy(b, p.data), p.from, nil
	case <-over:
		return 0, nil, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo is the net.PacketConn method.
func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	c.lan.send(b, c.addr, to)
	return len(b), nil
}

// Close leaves the LAN.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.lan.mu.Lock()
		defer c.lan.mu.Unlock()
		c.lan.members = slices.DeleteFunc(c.lan.members, func(m *Conn) bool { return m == c })
	})
	return nil
}

// LocalAddr is the member's address.
func (c *Conn) LocalAddr() net.Addr { return c.addr }

// SetDeadline is the net.PacketConn method.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline is the net.PacketConn method.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.deadline.set(t)
	return nil
}

// SetWriteDeadline does nothing: writing never waits.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// A deadline frees a blocked read, also if it is set while one waits.
type deadline struct {
	mu    sync.Mutex
	over  chan struct{}
	timer *time.Timer
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() || d.over == nil {
		d.over = make(chan struct{}) // the old one is closed, or will be
	}
	d.timer = nil
	select {
	case <-d.over:
		d.over = make(chan struct{})
	default:
	}

	if t.IsZero() {
		return
	}
	over := d.over
	left := time.Until(t)
	if left <= 0 {
		close(over)
		return
	}

	d.timer = time.AfterFunc(left, func() { close(over) })
}

func (d *deadline) wait() chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}
