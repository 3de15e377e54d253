package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"latchkey/kms/front/proxy"
)

// doors lead each connection of one listener to where it is answered: what
// begins with a TLS handshake to secure, the rest to plain. A proxy that
// speaks the PROXY protocol is heard first, and its client is who counts.
type doors struct {
	net.Listener
	limits  *limiter
	options Options
	reading chan struct{} // proxies' headers being read

	plain, secure *door
	once          sync.Once
	closed        chan struct{}
}

// A door is a listener that the doors give connections to.
type door struct {
	d  *doors
	ch chan net.Conn
}

// recordHandshake is the first byte of a TLS connection: RFC 8446, section
// 5.1. No HTTP request begins with it.
const recordHandshake = 22

func newDoors(l net.Listener, o Options) *doors {
	d := &doors{Listener: l, limits: newLimiter(o), options: o, closed: make(chan struct{})}
	d.reading = make(chan struct{}, o.Limits.orDefault().InAll)
	d.plain, d.secure = &door{d, make(chan net.Conn)}, &door{d, make(chan net.Conn)}
	return d
}

// Door is l with limits, behind proxies of the PROXY protocol if there are
// some: for servers that are not a Front.
func Door(l net.Listener, o Options) net.Listener {
	o.TLS = nil
	d := newDoors(l, o)
	go d.run()
	return d.plain
}

// run accepts until the listener is closed.
func (d *doors) run() error {
	for pause := time.Duration(0); ; {
		conn, err := d.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			d.close()
			return err
		}
		if err != nil { // no descriptor left, a connection that ended already
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-d.closed:
			}
			continue
		}

		pause = 0
		from := addressOf(conn)
		if !d.options.ProxyProtocol || !Contains(d.options.Proxies, from) {
			d.admit(conn, from)
			continue
		}

		select {
		case d.reading <- struct{}{}:
			go d.hear(conn)
		default:
			conn.Close() // the proxy holds more connections open than there may be
		}
	}
}

// hear reads what a proxy says before the connection itself.
func (d *doors) hear(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(HeadWait))
	client, err := proxy.ReadHeader(conn)
	<-d.reading
	if err != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	if !client.IsValid() { // the proxy itself, a health check
		d.admit(conn, addressOf(conn))
		return
	}
	d.admit(proxied{conn, client}, client.Addr())
}

// admit counts a connection and finds its door.
func (d *doors) admit(conn net.Conn, from netip.Addr) {
	c := d.limits.admit(conn, from)
	switch {
	case c == nil:
		conn.Close()
	case d.options.TLS == nil:
		d.plain.push(c)
	default:
		go d.sniff(c)
	}
}

func (d *doors) sniff(c *limited) {
	first := make([]byte, 1)
	c.SetReadDeadline(time.Now().Add(HeadWait))
	if _, err := io.ReadFull(c, first); err != nil {
		c.Close()
		return
	}
	c.SetReadDeadline(time.Time{})
	c.first = first
	if first[0] == recordHandshake {
		d.secure.push(tls.Server(c, d.options.TLS))
	} else {
		d.plain.push(c)
	}
}

func (d *doors) close() {
	d.once.Do(func() { close(d.closed); d.Listener.Close() })
}

func (o *door) push(c net.Conn) {
	select {
	case o.ch <- c:
	case <-o.d.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (o *door) Accept() (net.Conn, error) {
	select {
	case c := <-o.ch:
		return c, nil
	case <-o.d.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (o *door) Close() error { o.d.close(); return nil }

// Addr implements net.Listener.
func (o *door) Addr() net.Addr { return o.d.Listener.Addr() }

// proxied is a connection that a proxy made for a client.
type proxied struct {
	net.Conn
	client netip.AddrPort
}

// RemoteAddr implements net.Conn.
func (p proxied) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(p.client) }

// addressOf is where a connection comes from; invalid for a Unix socket.
func addressOf(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// Contains tells whether an address is in one of some networks.
func Contains(all []netip.Prefix, a netip.Addr) bool {
	for _, p := range all {
		if p.Contains(a.WithZone("")) {
			return true
		}
	}
	return false
}
