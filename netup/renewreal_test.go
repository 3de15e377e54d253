package netup_test

import (
	"net"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"latchkey/internal/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

// faults/network.md M4, on the real kernel: what a Renew4 socket sends reaches
// dnsmasq as unicast, and its answer arrives at the DHCP4 socket of the link.
func TestRenewSocket(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	dnsmasq(lan, "--dhcp-range=192.0.2.10,192.0.2.10,1h")
	updates, stop := start(t, plan.Net{})
	l := waitFor(t, updates, has("192.0.2.10/24"))
	stop()

	hears, err := netup.Linux{}.Open(l.Index, netup.DHCP4)
	if err != nil {
		t.Fatal(err)
	}
	defer hears.Close()
	sends, err := netup.Linux{}.Open(l.Index, netup.Renew4)
	if err != nil {
		t.Fatal(err)
	}
	defer sends.Close()

	ask, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithHwAddr(l.MAC), dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 10)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sends.WriteTo(ask.ToBytes(), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 67}); err != nil {
		t.Fatal(err)
	}
	if err := hears.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for {
		n, _, err := hears.ReadFrom(buf)
		if err != nil {
			t.Fatalf("waiting for the answer: %v", err)
		}
		payload, from, err := netup.UnwrapUDP(buf[:n])
		if err != nil {
			continue
		}
		reply, err := dhcpv4.FromBytes(payload)
		if err != nil || reply.TransactionID != ask.TransactionID {
			continue
		}
		if reply.MessageType() != dhcpv4.MessageTypeAck || from != testServer || !net.IP(buf[16:20]).Equal(net.IPv4(192, 0, 2, 10)) {
			t.Errorf("answer %s from %s to %s, want an ACK of 192.0.2.1 to the leased address", reply.MessageType(), from, net.IP(buf[16:20]))
		}
		return
	}
}
