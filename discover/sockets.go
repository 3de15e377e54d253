package discover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The groups and the port of RFC 6762, section 3.
const mdnsPort = 5353

var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 251})
	group6 = netip.MustParseAddr("ff02::fb")
)

// Sockets opens what discovery listens on. The addresses of the
// connections are *net.UDPAddr.
type Sockets interface {
	// Group returns a connection that sends from port 5353, and hears what
	// is sent to the mDNS group of one IP version, on one link only. What is
	// sent to this machine stays with the other programs on the port.
	Group(i Interface, v6 bool) (net.PacketConn, error)
	// Direct returns a connection that hears what is sent to port 5353 of
	// this machine over one link, and nothing that is sent to the group.
	// Other programs on the port hear none of it any more.
	Direct(i Interface, v6 bool) (net.PacketConn, error)
	// Dial connects to a DNS server by "udp" or "tcp", over one link only,
	// or as the routes say if the index of the link is 0.
	Dial(ctx context.Context, i Interface, network string, to netip.AddrPort) (net.Conn, error)
}

// System is the Sockets of the kernel.
type System struct {
	// Shared says that other programs may use port 5353, such as
	// avahi-daemon: unicast answers are theirs, and Direct returns an error.
	Shared bool
}

// Group binds to the group's address. Package net would make the wildcard
// of it, and the kernel then gives every unicast answer for this machine to
// the socket that was bound last.
func (System) Group(i Interface, v6 bool) (net.PacketConn, error) {
	var group unix.Sockaddr = &unix.SockaddrInet4{Addr: group4.As4(), Port: mdnsPort}
	if v6 {
		group = &unix.SockaddrInet6{Addr: group6.As16(), Port: mdnsPort, ZoneId: uint32(i.Index)}
	}
	return listen(i, v6, group, joinGroup)
}

// Direct binds to the wildcard address.
func (s System) Direct(i Interface, v6 bool) (net.PacketConn, error) {
	if s.Shared {
		return nil, errors.ErrUnsupported
	}
	var any unix.Sockaddr = &unix.SockaddrInet4{Port: mdnsPort}
	if v6 {
		any = &unix.SockaddrInet6{Port: mdnsPort}
	}
	return listen(i, v6, any, func(int, Interface, bool) error { return nil })
}

// listen makes a UDP socket for one link.
func listen(i Interface, v6 bool, at unix.Sockaddr, prepare func(fd int, i Interface, v6 bool) error) (net.PacketConn, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a UDP socket: %w", err)
	}

	// FilePacketConn takes a copy of the descriptor.
	f := os.NewFile(uintptr(fd), "mdns")
	defer f.Close()
	err = setOptions(fd, i, v6)
	if err == nil {
		err = prepare(fd, i, v6)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, at))
	}
	if err != nil {
		return nil, fmt.Errorf("listening for mDNS on %s: %w", i.Name, err)
	}
	return net.FilePacketConn(f)
}

// Dial goes over the link that named the server: two links may have
// networks that know nothing of each other.
func (System) Dial(ctx context.Context, i Interface, network string, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if i.Index == 0 {
			return nil
		}
		var err error
		if ctl := c.Control(func(fd uintptr) { err = toLink(int(fd), i, to.Addr().Is6()) }); ctl != nil {
			return ctl
		}
		return err
	}}
	return dialer.DialContext(ctx, network, to.String())
}

// option is one setsockopt(2) with a number.
type option struct{ level, name, value int }

// setOptions shares the port, and keeps what is sent on the link. The hop
// limit is 255: RFC 6762, section 11. Without IP_MULTICAST_ALL=0 a socket
// hears the groups that others on this machine have joined, on any link.
func setOptions(fd int, i Interface, v6 bool) error {
	options := []option{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{unix.SOL_SOCKET, unix.SO_DONTROUTE, 1}, // who asks is on the link, whatever the routes say
	}
	if v6 {
		options = append(options,
			option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, i.Index},
			option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255},
			option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255})
	} else {
		options = append(options,
			option{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0},
			option{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255},
			option{unix.IPPROTO_IP, unix.IP_TTL, 255})
	}

	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("setting socket option %d: %w", o.name, err)
		}
	}

	if v6 {
		// Since Linux 4.20. Without it Direct hears the group, too.
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	}
	return toLink(fd, i, v6)
}

// toLink binds a socket to a link. Before Linux 5.7 that was a privilege;
// without it, what is sent goes there at least: the order of the routes is
// kept, but only those over the link count.
func toLink(fd int, i Interface, v6 bool) error {
	err := unix.BindToDevice(fd, i.Name)
	if !errors.Is(err, unix.EPERM) {
		return os.NewSyscallError("binding to link "+i.Name, err)
	}
	// In network order: ip(7).
	index := int(binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, uint32(i.Index))))
	if v6 {
		return os.NewSyscallError("setting IPV6_UNICAST_IF", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF, index))
	}
	return os.NewSyscallError("setting IP_UNICAST_IF", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_UNICAST_IF, index))
}

func joinGroup(fd int, i Interface, v6 bool) error {
	if v6 {
		m := &unix.IPv6Mreq{Multiaddr: group6.As16(), Interface: uint32(i.Index)}
		return os.NewSyscallError("joining ff02::fb", unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m))
	}

	m := &unix.IPMreqn{Multiaddr: group4.As4(), Ifindex: int32(i.Index)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, m); err != nil {
		return os.NewSyscallError("setting IP_MULTICAST_IF", err)
	}
	return os.NewSyscallError("joining 224.0.0.251", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, m))
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
