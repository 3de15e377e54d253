package netup

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// maxPacket is the largest DHCP packet that is read, in bytes.
const maxPacket = 9216

var broadcastHW = HW("\xff\xff\xff\xff\xff\xff")

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// wanted is the parameter request list: RFC 2132, section 9.8; classless
// routes come before the router, RFC 3442.
var wanted = dhcpv4.WithRequestedOptions(
	dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.GenericOptionCode(249), dhcpv4.OptionRouter,
	dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList,
	dhcpv4.OptionInterfaceMTU, dhcpv4.OptionHostName,
)

func (d *dhcp4) message(t dhcpv4.MessageType, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: d.mac, TransactionID: d.xid,
		NumSeconds:   uint16(min(time.Since(d.started).Seconds(), 65535)),
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		Options: dhcpv4.Options{},
	}
	if isInfiniBand(d.mac) { // RFC 4390, section 2
		m.HWType, m.ClientHWAddr = iana.HWTypeInfiniband, nil
		m.SetBroadcast()
	}

	dhcpv4.WithMessageType(t)(m)
	if t != dhcpv4.MessageTypeDecline { // RFC 2131, table 5
		wanted(m)
		m.UpdateOption(dhcpv4.OptMaxMessageSize(1500))
		d.nameMe(m)
	}
	m.UpdateOption(dhcpv4.OptClientIdentifier(clientID(d.mac)))
	for _, apply := range more {
		apply(m)
	}
	return m
}

// nameMe adds the host name: a name with a domain as a client's FQDN, which
// takes the place of option 12 (RFC 4702, section 3.1).
func (d *dhcp4) nameMe(m *dhcpv4.DHCPv4) {
	switch {
	case d.hostname == "":
	case strings.Contains(d.hostname, "."):
		// E: the name in wire format. S: the server may set the A record.
		fqdn := []byte{0b0101, 0, 0}
		for label := range strings.SplitSeq(strings.Trim(d.hostname, "."), ".") {
			fqdn = append(append(fqdn, byte(len(label))), label...)
		}
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionFQDN, append(fqdn, 0)))
	default:
		m.UpdateOption(dhcpv4.OptHostName(d.hostname))
	}
}

// broadcast sends to all servers on the link, without an address of our own.
func (d *dhcp4) broadcast(m *dhcpv4.DHCPv4) error { return d.broadcastFrom(netip.IPv4Unspecified(), m) }

func (d *dhcp4) broadcastFrom(src netip.Addr, m *dhcpv4.DHCPv4) error {
	_, err := d.conn.WriteTo(wrapUDP(src, limitedBroadcast, m.ToBytes()), broadcastHW)
	return err
}

// exchange sends m and returns the first answer to it that is an offer,
// an acknowledgement or a refusal, until the time is over.
func (d *dhcp4) exchange(ctx context.Context, m *dhcpv4.DHCPv4, send func(*dhcpv4.DHCPv4) error, until time.Time) (*dhcpv4.DHCPv4, error) {
	if err := send(m); err != nil {
		d.log.Debug("sending to DHCP", "error", err) // a full queue: the retry sends again
	}
	return d.listen(ctx, m, until)
}

// listen returns the first answer to m.
func (d *dhcp4) listen(ctx context.Context, m *dhcpv4.DHCPv4, until time.Time) (*dhcpv4.DHCPv4, error) {
	if err := d.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	packet := make([]byte, maxPacket)
	for {
		n, _, err := d.conn.ReadFrom(packet)
		if err != nil {
			return nil, fmt.Errorf("waiting for DHCP: %w", err)
		}
		if reply := d.answer(m, packet[:n]); reply != nil {
			return reply, nil
		}
	}
}

// answer returns the message in the packet if it answers m in a way that
// the client can go on with.
func (d *dhcp4) answer(m *dhcpv4.DHCPv4, packet []byte) *dhcpv4.DHCPv4 {
	payload, _, err := unwrapUDP(packet)
	if err != nil {
		return nil
	}

	reply, err := readDHCP(payload)
	if err != nil || reply.OpCode != dhcpv4.OpcodeBootReply || reply.TransactionID != d.xid ||
		len(d.mac) == 6 && !bytes.Equal(reply.ClientHWAddr, d.mac) {
		return nil
	}
	// A server that says for which client it speaks means us: RFC 6842.
	if id := reply.Options.Get(dhcpv4.OptionClientIdentifier); id != nil && !bytes.Equal(id, clientID(d.mac)) {
		return nil
	}

	discovering := m.MessageType() == dhcpv4.MessageTypeDiscover
	switch reply.MessageType() {
	case dhcpv4.MessageTypeNak:
		// RFC 2131, section 4.3.2: of the server that was asked.
		server := m.ServerIdentifier()
		if discovering || server != nil && !server.Equal(reply.ServerIdentifier()) {
			return nil
		}
		return reply

	case dhcpv4.MessageTypeOffer:
		if !discovering {
			return nil
		}
	case dhcpv4.MessageTypeAck:
		if discovering && !reply.Options.Has(dhcpv4.OptionRapidCommit) {
			return nil
		}

	default:
		return nil
	}

	lease, err := parseLease(reply)
	if err != nil {
		d.log.Debug("ignoring a DHCP answer", "error", err)
		return nil
	}

	if discovering && lease.Server == d.silent && time.Now().Before(d.avoid) {
		return nil
	}
	return reply
}
