package netup

import "github.com/insomniacslk/dhcp/dhcpv4"

// PlaceOf is placeOf, to be tried on a made-up sysfs.
var PlaceOf = placeOf

// The parsers of what others on the LAN send, for fuzzing.
var (
	ParseRA     = parseRA
	ParseARP    = parseARP
	UnwrapUDP   = unwrapUDP
	ParseLease6 = parseLease6
)

// ParseLease reads a DHCPv4 message and what it grants.
func ParseLease(p []byte) (*dhcpv4.DHCPv4, Lease, error) {
	m, err := readDHCP(p)
	if err != nil {
		return nil, Lease{}, err
	}
	l, err := parseLease(m)
	return m, l, err
}

// Sender is who an ARP packet says it is from.
func (a arpPacket) Sender() (mac, addr string) { return a.senderMAC.String(), a.senderAddr.String() }

// OpWords is what the log calls a change.
var OpWords = opWords
