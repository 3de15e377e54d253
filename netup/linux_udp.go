package netup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openRenew4 opens the client's port on one link. Nobody reads from it; it
// is there so that the kernel finds the way to the server, and does not tell
// it that the port is closed.
func openRenew4(index int) (net.PacketConn, error) {
	link, err := linkAt(index)
	if err != nil {
		return nil, fmt.Errorf("opening a DHCP socket: %w", err)
	}
	conn, err := onLink(link).ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", clientPort))
	if err != nil {
		return nil, fmt.Errorf("opening a DHCP socket on %s: %w", link.Name, err)
	}
	return conn, nil
}

// openDHCP6 opens the client's port on one link. It is bound to the link,
// not to its address, which may not be there yet; so addresses need no
// zone, whose names package net remembers for a minute after a link was
// renamed.
func openDHCP6(index int) (net.PacketConn, error) {
	link, err := linkAt(index)
	if err != nil {
		return nil, fmt.Errorf("opening a DHCPv6 socket: %w", err)
	}

	conn, err := onLink(link).ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", clientPort6))
	if err != nil {
		return nil, fmt.Errorf("opening a DHCPv6 socket on %s: %w", link.Name, unsupported(err))
	}
	return conn, nil
}

// onLink makes sockets that speak on one link only.
func onLink(link *netlink.LinkAttrs) *net.ListenConfig {
	return &net.ListenConfig{Control: control(func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		return unix.BindToDevice(fd, link.Name)
	})}
}

// control makes a net.ListenConfig's Control of a function on the
// descriptor.
func control(f func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = f(int(fd)) }); ctl != nil {
			return ctl
		}
		return err
	}
}

// unsupported makes a kernel without IPv6 an errors.ErrUnsupported.
func unsupported(err error) error {
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	return err
}
