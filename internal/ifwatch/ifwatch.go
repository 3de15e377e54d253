// Package ifwatch tells when a network interface or an address changes.
package ifwatch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch returns a channel that gets a value after a link or an address
// has changed, until ctx ends; then it is closed. What changed is not
// told: the kernel drops events when a storm of them overflows the
// socket, so a reader must look at the state anyway.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}

	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("subscribing to link changes: %w", err)
	}

	f := os.NewFile(uintptr(fd), "netlink")
	wake := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		defer close(wake)
		for wait(f) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}()

	return wake, nil
}

// wait reads one batch of events. It is false after Close.
func wait(f *os.File) bool {
	_, err := f.Read(make([]byte, 8192))
	// ENOBUFS says that events were lost: an event as good as any.
	return err == nil || errors.Is(err, unix.ENOBUFS)
}
