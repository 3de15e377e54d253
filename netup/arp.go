package netup

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// An arpPacket is an ARP packet for IPv4 over Ethernet: RFC 826.
type arpPacket struct {
	op         uint16
	senderMAC  net.HardwareAddr
	senderAddr netip.Addr
	targetAddr netip.Addr
}

const (
	arpRequest = 1
	arpReply   = 2
	arpSize    = 28
)

var errNotARP = errors.New("not an ARP packet for IPv4 over Ethernet")

// arpHead is hardware type 1, protocol 0x0800, lengths 6 and 4.
const arpHead = "\x00\x01\x08\x00\x06\x04"

func (a arpPacket) pack() []byte {
	p := append(make([]byte, 0, arpSize), arpHead...)
	p = binary.BigEndian.AppendUint16(p, a.op)
	p = append(append(p, a.senderMAC...), a.senderAddr.AsSlice()...)
	p = append(p, 0, 0, 0, 0, 0, 0)
	return append(p, a.targetAddr.AsSlice()...)
}

func parseARP(p []byte) (arpPacket, error) {
	if len(p) < arpSize || string(p[:6]) != arpHead {
		return arpPacket{}, errNotARP
	}
	a := arpPacket{
		op: binary.BigEndian.Uint16(p[6:]), senderMAC: net.HardwareAddr(append([]byte(nil), p[8:14]...)),
		senderAddr: netip.AddrFrom4([4]byte(p[14:18])), targetAddr: netip.AddrFrom4([4]byte(p[24:28])),
	}
	if a.op != arpRequest && a.op != arpReply {
		return arpPacket{}, errNotARP
	}
	return a, nil
}
