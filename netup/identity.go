package netup

import (
	"encoding/binary"
	"net"
)

// isInfiniBand tells whether a hardware address is one of IP over
// InfiniBand: flags and queue pair (4 bytes, others after each boot), subnet
// prefix (8), GUID of the port (8); RFC 4391, section 9.1.1.
func isInfiniBand(mac net.HardwareAddr) bool { return len(mac) == 20 }

// lastingID is the part of a hardware address that stays.
func lastingID(mac net.HardwareAddr) net.HardwareAddr {
	if isInfiniBand(mac) {
		return mac[12:]
	}
	return mac
}

// clientID is how a client tells a DHCP server who it is. On Ethernet it is
// the hardware address (RFC 2132, section 9.14), which most servers'
// reservations mean; InfiniBand has no room for its address in the message,
// and takes the form of RFC 4361, section 6.1.
func clientID(mac net.HardwareAddr) []byte {
	if !isInfiniBand(mac) {
		return append([]byte{1}, mac...)
	}
	id := lastingID(mac)
	out := append([]byte{255}, id[len(id)-4:]...) // type, IAID
	out = binary.BigEndian.AppendUint16(out, 3)   // DUID-LL: RFC 8415, section 11.4
	out = binary.BigEndian.AppendUint16(out, 32)  // hardware type InfiniBand
	return append(out, id...)
}
