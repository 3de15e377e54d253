// Package proxy reads what a proxy says before it hands a connection on:
// the PROXY protocol, version 2, of HAProxy's proxy-protocol.txt.
package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Section 2.2.
const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	headSize  = 16
	maxBody   = 1024 // bytes of addresses and extensions
)

var errHeader = errors.New("no PROXY header of version 2")

// ReadHeader reads one header and nothing after it: where the client is. An
// invalid address means that the proxy speaks for itself (LOCAL).
func ReadHeader(r io.Reader) (netip.AddrPort, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("reading a PROXY header: %w", err)
	}

	size := int(binary.BigEndian.Uint16(head[14:]))
	if string(head[:12]) != signature || head[12]>>4 != 2 || size > maxBody {
		return netip.AddrPort{}, errHeader
	}

	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.AddrPort{}, fmt.Errorf("reading a PROXY header: %w", err)
	}

	switch head[12] & 0xf {
	case 0: // LOCAL
		return netip.AddrPort{}, nil
	case 1: // PROXY
		return client(head[13], body)
	}

	return netip.AddrPort{}, errHeader
}

// client: section 2.2, family and transport, then source and destination.
func client(family byte, body []byte) (netip.AddrPort, error) {
	switch {
	case family == 0x11 && len(body) >= 12: // TCP over IPv4
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:])), nil
	case family == 0x21 && len(body) >= 36: // TCP over IPv6
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:])), nil
	}
	return netip.AddrPort{}, errHeader
}
