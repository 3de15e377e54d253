package netup_test

import (
	"context"
	"log/slog"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"latchkey/internal/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

// BenchmarkAddress measures from carrier to a usable address, beside a
// bare exchange of the same four messages with the same dnsmasq, and
// beside dhclient from its start to its end. Ratios are of medians' kin:
// means over the same number of rounds in the same run.
func BenchmarkAddress(b *testing.B) {
	testlan.Need(b, "dnsmasq", "dhclient")
	lan := testlan.NewPeer(b)
	lan.Connect("eth0", "lan0")
	lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	dnsmasq(lan, "--dhcp-range=192.0.2.10,192.0.2.10,1h")
	carrierToAddress(b) // the first one waits for dnsmasq
	var ours, bare, dhclient time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		ours += carrierToAddress(b)
		testlan.Run(b, "ip", "link", "set", "eth0", "up")
		bare += exchange(b)
		start := time.Now()
		if err := exec.Command("dhclient", "-4", "-1", "-q", "-sf", "/bin/true", "-lf", "/dev/null", "-pf", "/dev/null", "eth0").Run(); err == nil {
			dhclient += time.Since(start)
		}
		exec.Command("dhclient", "-4", "-x", "-pf", "/dev/null", "eth0").Run()
		testlan.Run(b, "ip", "link", "set", "eth0", "down")
	}

	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(rounds) }
	b.ReportMetric(ms(ours), "ms/address")
	b.ReportMetric(ms(bare), "ms/bare-exchange")
	b.ReportMetric(ms(dhclient), "ms/dhclient")
	b.ReportMetric(float64(ours)/float64(bare), "x-bare")
	b.ReportMetric(float64(ours)/float64(dhclient), "x-dhclient")
	b.ReportMetric(0, "ns/op")
}

// carrierToAddress brings eth0 up with netup and gives it back.
func carrierToAddress(b *testing.B) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var carrier, address time.Time
	quiet := slog.New(slog.DiscardHandler)
	err := netup.Run(ctx, netup.Linux{}, plan.Net{}, quiet, func(links []netup.Link) {
		for _, l := range links {
			if l.Up && carrier.IsZero() {
				carrier = time.Now()
			}
			if l.Lease != nil {
				address = time.Now()
				cancel()
			}
		}
	})
	if err != nil || address.IsZero() {
		b.Fatalf("no address: %v", err)
	}

	if err := netup.Release(netup.Linux{}, quiet); err != nil {
		b.Fatal(err)
	}
	return address.Sub(carrier)
}

// exchange is DISCOVER, OFFER, REQUEST, ACK and nothing else.
func exchange(b *testing.B) time.Duration {
	b.Helper()
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		b.Fatal(err)
	}

	conn, err := netup.Linux{}.Open(link.Index, netup.DHCP4)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	start := time.Now()
	discover, err := dhcpv4.NewDiscovery(link.HardwareAddr)
	if err != nil {
		b.Fatal(err)
	}

	request, err := dhcpv4.NewRequestFromOffer(ask(b, conn, discover))
	if err != nil {
		b.Fatal(err)
	}

	ask(b, conn, request)
	return time.Since(start)
}

func ask(b *testing.B, conn net.PacketConn, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	b.Helper()
	m.SetBroadcast()
	packet := udp(testServer, m.ToBytes())
	copy(packet[12:16], net.IPv4zero.To4())
	packet[10], packet[11] = 0, 0
	packet[20], packet[21], packet[22], packet[23] = 0, 68, 0, 67
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(packet[i])<<8 | uint32(packet[i+1])
	}

	sum = sum&0xffff + sum>>16
	packet[10], packet[11] = byte(^sum>>8), byte(^sum)
	if _, err := conn.WriteTo(packet, netup.HWAddr(net.HardwareAddr{255, 255, 255, 255, 255, 255})); err != nil {
		b.Fatal(err)
	}

	buf := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			b.Fatal(err)
		}
		if reply, err := dhcpv4.FromBytes(buf[28:n]); err == nil && reply.TransactionID == m.TransactionID {
			return reply
		}
	}
}
