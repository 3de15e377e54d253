package front_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"latchkey/kms/front"
)

// arrivals is a listener that connections of any address arrive at.
type arrivals struct {
	net.Listener
	next []net.Conn
}

func (a *arrivals) Close() error { return nil }

func (a *arrivals) Accept() (net.Conn, error) {
	if len(a.next) == 0 {
		return nil, net.ErrClosed
	}
	c := a.next[0]
	a.next = a.next[1:]
	return c, nil
}

// visitor is a connection that knows whether it was closed.
type visitor struct {
	net.Conn
	from   string
	closed bool
}

func (v *visitor) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(v.from))
}

func (v *visitor) Close() error {
	v.closed = true
	return nil
}

// How many of so many connections, none of which has sent anything, stay
// open; it is the youngest that stay.
func TestConnectionLimits(t *testing.T) {
	for _, row := range []struct {
		name string
		from func(i int) string
		n    int
		want int
	}{
		{"one IPv4 address", func(i int) string { return fmt.Sprintf("192.0.2.1:%d", i+1) }, 40, 16},
		{"the same, mapped", func(i int) string { return fmt.Sprintf("[::ffff:192.0.2.1]:%d", i+1) }, 40, 16},
		{"one IPv6 address", func(i int) string { return fmt.Sprintf("[2001:db8::1]:%d", i+1) }, 40, 16},
		{"one address, many zones", func(i int) string { return fmt.Sprintf("[fe80::1%%eth%d]:1", i) }, 40, 16},
		{"one /64 beyond the router", func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i+1) }, 400, 256},
		{"the link", func(i int) string { return fmt.Sprintf("[fe80::%x%%eth0]:1", i+1) }, 400, 400},
		{"everywhere", func(i int) string { return fmt.Sprintf("[2001:db8:%x::1]:1", i+1) }, 2000, 1024},
		{"IPv4 everywhere", func(i int) string { return fmt.Sprintf("10.0.%d.%d:1", i/250, i%250+1) }, 2000, 1024},
	} {
		var all []*visitor
		a := &arrivals{}
		for i := range row.n {
			v := &visitor{from: row.from(i)}
			all, a.next = append(all, v), append(a.next, v)
		}

		l := front.Door(a, front.Options{})
		var last net.Conn
		for range row.n {
			c, err := l.Accept()
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			last = c
		}

		open := 0
		for i, v := range all {
			if !v.closed {
				open++
			} else if i >= row.n-row.want {
				t.Errorf("%s: connection %d was closed, and older ones were not", row.name, i)
			}
		}

		if open != row.want {
			t.Errorf("%s: %d connections are open, want %d", row.name, open, row.want)
		}
		last.Close()
		last.Close() // counted once
	}
}
