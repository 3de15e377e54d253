package netup

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The ports of RFC 2131, section 4.1.
const (
	serverPort = 67
	clientPort = 68
)

const (
	ipHeader  = 20 // without options: RFC 791, section 3.1
	udpHeader = 8  // RFC 768
	protoUDP  = 17
)

var errNotDHCP = errors.New("not a UDP packet for a DHCP client")

// wrapUDP puts a DHCP message of a client into a UDP and an IPv4 packet.
func wrapUDP(src, dst netip.Addr, payload []byte) []byte {
	p := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(payload))
	p[0] = 0x45 // version 4, five words
	binary.BigEndian.PutUint16(p[2:], uint16(cap(p)))
	p[8] = 64 // TTL
	p[9] = protoUDP
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^sum(0, p[:ipHeader]))
	udp := p[ipHeader:]
	binary.BigEndian.PutUint16(udp, clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeader+len(payload)))
	p = append(p, payload...)
	pseudo := sum(protoUDP+uint32(udpHeader+len(payload)), p[12:20])
	check := ^sum(uint32(pseudo), p[ipHeader:])
	if check == 0 {
		check = 0xffff // RFC 768: zero means that there is none
	}

	binary.BigEndian.PutUint16(p[ipHeader+6:], check)
	return p
}

// unwrapUDP returns the payload of a UDP packet from a DHCP server, and
// who sent it. The UDP checksum is not looked at: a server on the same
// machine or hypervisor leaves it to hardware that is not there
// (PACKET_AUXDATA, TP_STATUS_CSUMNOTREADY), and it protects from nobody.
func unwrapUDP(p []byte) (payload []byte, from netip.Addr, err error) {
	if len(p) < ipHeader || p[0]>>4 != 4 {
		return nil, from, errNotDHCP
	}
	header := int(p[0]&15) * 4
	total := int(binary.BigEndian.Uint16(p[2:]))
	fragment := binary.BigEndian.Uint16(p[6:])&0x3fff != 0
	if header < ipHeader || total < header+udpHeader || total > len(p) || fragment ||
		p[9] != protoUDP || sum(0, p[:header]) != 0xffff {
		return nil, from, errNotDHCP
	}

	udp := p[header:total]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp) != serverPort || binary.BigEndian.Uint16(udp[2:]) != clientPort ||
		size < udpHeader || size > len(udp) {
		return nil, from, errNotDHCP
	}

	return udp[udpHeader:size], netip.AddrFrom4([4]byte(p[12:16])), nil
}

// sum is the one's complement sum of RFC 1071.
func sum(start uint32, b []byte) uint16 {
	s := start
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
