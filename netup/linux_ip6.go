package netup

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openNDP opens a raw socket that hears router advertisements on one link.
func openNDP(index int) (net.PacketConn, error) {
	link, err := linkAt(index)
	if err != nil {
		return nil, fmt.Errorf("opening an NDP socket: %w", err)
	}

	config := net.ListenConfig{Control: control(func(fd int) error { return prepareNDP(fd, link) })}
	conn, err := config.ListenPacket(context.Background(), "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("opening an NDP socket on %s: %w", link.Name, unsupported(err))
	}

	raw, ok := conn.(*net.IPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("opening an NDP socket on %s: it is a %T", link.Name, conn)
	}

	return ndpConn{raw}, nil
}

func prepareNDP(fd int, link *netlink.LinkAttrs) error {
	for _, o := range []struct{ name, value int }{
		{unix.IPV6_MULTICAST_IF, link.Index},
		{unix.IPV6_MULTICAST_HOPS, 255}, // RFC 4861, section 4.1
		{unix.IPV6_UNICAST_HOPS, 255},
		{unix.IPV6_RECVHOPLIMIT, 1},
	} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, o.name, o.value); err != nil {
			return err
		}
	}

	// A set bit blocks its type: RFC 3542, section 3.2.
	filter := &unix.ICMPv6Filter{}
	for i := range filter.Data {
		filter.Data[i] = ^uint32(0)
	}
	filter.Data[raType/32] &^= 1 << (raType % 32)
	if err := unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, filter); err != nil {
		return err
	}

	return unix.BindToDevice(fd, link.Name)
}

// ndpConn drops what has passed a router: RFC 4861, section 6.1.2.
type ndpConn struct{ *net.IPConn }

func (c ndpConn) ReadFrom(b []byte) (int, net.Addr, error) {
	oob := make([]byte, 128)
	for {
		n, size, _, from, err := c.ReadMsgIP(b, oob)
		if err != nil {
			return 0, nil, err
		}
		if hopLimit(oob[:size]) == 255 {
			return n, from, nil
		}
	}
}

func hopLimit(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}
