package discover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// The groups and the port of RFC 6762, section 3.
const mdnsPort = 5353

var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 251})
	group6 = netip.MustParseAddr("ff02::fb")
)

// An Interface is a network link as discovery needs to know it.
type Interface struct {
	Index   int
	Name    string
	Addrs   []netip.Prefix
	DNS     []netip.Addr // servers that this link's network named
	Domains []string
}

// Sockets opens what discovery listens on. The addresses of the
// connections are *net.UDPAddr.
type Sockets interface {
	// Multicast returns a connection that sends to, and hears, the mDNS
	// group of one IP version on one link only, from port 5353.
	Multicast(i Interface, v6 bool) (net.PacketConn, error)
	// Group is Multicast, but hears only what is sent to the group: what is
	// sent to this machine stays with the other programs on the port.
	Group(i Interface, v6 bool) (net.PacketConn, error)
	// Dial connects to a DNS server by "udp" or "tcp", over one link only.
	Dial(ctx context.Context, i Interface, network string, to netip.AddrPort) (net.Conn, error)
}

// System is the Sockets of the kernel.
type System struct{}

// Multicast shares port 5353 with others on this machine, such as
// avahi-daemon. The socket is bound to the link, so that what it hears
// came in there: RFC 6762, section 11.
func (System) Multicast(i Interface, v6 bool) (net.PacketConn, error) {
	if v6 {
		return listen(i, v6, "[::]:5353")
	}
	return listen(i, v6, "0.0.0.0:5353")
}

// Group binds to the group's address.
func (System) Group(i Interface, v6 bool) (net.PacketConn, error) {
	if v6 {
		return listen(i, v6, fmt.Sprintf("[%s%%%d]:%d", group6, i.Index, mdnsPort))
	}
	return listen(i, v6, netip.AddrPortFrom(group4, mdnsPort).String())
}

func listen(i Interface, v6 bool, address string) (net.PacketConn, error) {
	network := "udp4"
	if v6 {
		network = "udp6"
	}

	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = joinGroup(int(fd), i, v6) }); ctl != nil {
			return ctl
		}
		return err
	}}

	conn, err := config.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("listening for mDNS on %s: %w", i.Name, err)
	}
	return conn, nil
}

// Dial goes over the link that named the server: two links may have
// networks that know nothing of each other.
func (System) Dial(ctx context.Context, i Interface, network string, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), i.Name) }); ctl != nil {
			return ctl
		}
		return err
	}}
	return dialer.DialContext(ctx, network, to.String())
}

// option is one setsockopt(2) with a number.
type option struct{ level, name, value int }

func joinGroup(fd int, i Interface, v6 bool) error {
	options := []option{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
	}
	if v6 {
		options = append(options,
			option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, i.Index},
			option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255},
			option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255}) // RFC 6762, section 11
	} else {
		options = append(options,
			option{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255},
			option{unix.IPPROTO_IP, unix.IP_TTL, 255})
	}

	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("setting socket option %d: %w", o.name, err)
		}
	}

	if err := unix.BindToDevice(fd, i.Name); err != nil {
		return fmt.Errorf("binding to link %s: %w", i.Name, err)
	}
	if v6 {
		m := &unix.IPv6Mreq{Multiaddr: group6.As16(), Interface: uint32(i.Index)}
		return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m)
	}

	m := &unix.IPMreqn{Multiaddr: group4.As4(), Ifindex: int32(i.Index)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, m); err != nil {
		return err
	}
	return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, m)
}

// groupAddr is where queries and answers for everybody go. It has no
// zone: the socket is bound to the link, and package net remembers the
// names of zones for a minute after a link was renamed.
func groupAddr(v6 bool) *net.UDPAddr {
	if v6 {
		return &net.UDPAddr{IP: group6.AsSlice(), Port: mdnsPort}
	}
	return &net.UDPAddr{IP: group4.AsSlice(), Port: mdnsPort}
}

// has tells whether the link has an address of that IP version from which
// it can send.
func (i Interface) has(v6 bool) bool {
	for _, p := range i.Addrs {
		if a := p.Addr(); a.Is6() == v6 && (!v6 || a.IsLinkLocalUnicast()) {
			return true
		}
	}
	return false
}

// onLink tells whether a packet from the address can have come from this
// link: RFC 6762, section 11.
func (i Interface) onLink(from netip.Addr) bool {
	from = from.WithZone("").Unmap()
	if from.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range i.Addrs {
		if p.Contains(from) {
			return true
		}
	}
	return false
}
