package netup

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
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
	if len(d.mac) == 20 { // InfiniBand: RFC 4390, section 2.1
		m.HWType, m.ClientHWAddr = iana.HWTypeInfiniband, nil
		m.SetBroadcast()
	}

	dhcpv4.WithMessageType(t)(m)
	wanted(m)
	m.UpdateOption(dhcpv4.OptMaxMessageSize(1500))
	if d.hostname != "" {
		m.UpdateOption(dhcpv4.OptHostName(d.hostname))
	}

	for _, apply := range more {
		apply(m)
	}
	return m
}

// exchange sends m and returns the first answer to it that is an offer,
// an acknowledgement or a refusal, until the time is over.
func (d *dhcp4) exchange(ctx context.Context, m *dhcpv4.DHCPv4, src netip.Addr, until time.Time) (*dhcpv4.DHCPv4, error) {
	if err := d.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}

	if _, err := d.conn.WriteTo(wrapUDP(src, limitedBroadcast, m.ToBytes()), broadcastHW); err != nil {
		d.log.Debug("sending to DHCP", "error", err) // a full queue: the retry sends again
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

	reply, err := dhcpv4.FromBytes(payload)
	if err != nil || reply.OpCode != dhcpv4.OpcodeBootReply || reply.TransactionID != d.xid ||
		len(d.mac) == 6 && !bytes.Equal(reply.ClientHWAddr, d.mac) {
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
