package netup_test

import (
	"context"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"latchkey/internal/plan"
	"latchkey/netup"
)

// FuzzPacket gives a packet of each protocol to a link that asks for
// addresses: as it is, and with the transaction that the client asked in.
// Nothing may panic, and no address may come of it that a host cannot have.
func FuzzPacket(f *testing.F) {
	offer, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 9)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))), dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{24, 10, 1, 2, 192, 0, 2, 1})),
		dhcpv4.WithDomainSearchList("example.org"), dhcpv4.WithDNS(net.IPv4(192, 0, 2, 1)))
	if err != nil {
		f.Fatal(err)
	}

	f.Add(offer.ToBytes())
	f.Add([]byte("\x86\x00\x00\x00\x40\xc0\x07\x08\x00\x00\x00\x00\x00\x00\x00\x00" + // RA with M and O
		"\x19\x03\x00\x00\x00\x00\x00\x3c\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + // RDNSS
		"\x1f\x02\x00\x00\x00\x00\x00\x3c\x03org\x00\x00\x00\x00")) // DNSSL
	if arp, err := hex.DecodeString("0001080006040002020000000009c000020900000000000000000000"); err == nil {
		f.Add(arp)
	}

	if reply, err := dhcpv6.NewMessage(); err == nil {
		reply.MessageType = dhcpv6.MessageTypeReply
		reply.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}))
		reply.AddOption(&dhcpv6.OptIANA{Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8::9"), ValidLifetime: time.Hour}}}})
		f.Add(reply.ToBytes())
	}

	f.Fuzz(func(t *testing.T, packet []byte) {
		settings := plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.DHCP, plan.DHCP6, plan.Auto6}}}}
		fake(t, one, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
			k.mu.Lock()
			mac := netup.HWAddr(net.HardwareAddr{2, 0, 0, 0, 0, 66})
			conns := map[netup.Protocol]net.PacketConn{
				netup.DHCP4: k.lans[1].Join(mac), netup.ARP: k.side(1, netup.ARP).Join(mac),
				netup.NDP:   k.side(1, netup.NDP).Join(&net.IPAddr{IP: net.ParseIP("fe80::66")}),
				netup.DHCP6: k.side(1, netup.DHCP6).Join(&net.UDPAddr{IP: net.ParseIP("fe80::66"), Port: 547}),
			}

			k.mu.Unlock()
			go mimic(conns[netup.DHCP4], packet, func(asked, answer []byte) []byte {
				if len(answer) >= 34 && len(asked) >= 28+34 {
					answer[0] = 2
					copy(answer[4:8], asked[28+4:])
					copy(answer[28:34], asked[28+28:])
				}
				return udp(testServer, answer)
			})

			go mimic(conns[netup.DHCP6], packet, func(asked, answer []byte) []byte {
				if len(answer) >= 4 && len(asked) >= 4 {
					copy(answer[1:4], asked[1:4])
				}
				return answer
			})

			settle()
			for p, c := range conns {
				to := net.Addr(netup.HWAddr(net.HardwareAddr{255, 255, 255, 255, 255, 255}))
				if p == netup.NDP || p == netup.DHCP6 {
					to = &net.IPAddr{IP: net.ParseIP("ff02::1")}
				}
				c.WriteTo(packet, to)
				if p == netup.DHCP4 {
					c.WriteTo(udp(testServer, packet), to)
				}
			}

			time.Sleep(20 * time.Second)
			for _, a := range s.link("eth0").Addrs {
				if ip := a.Addr(); ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
					t.Errorf("eth0 has %s", a)
				}
			}

			for _, d := range s.link("eth0").Domains {
				if strings.ContainsAny(d, " \n\x00;'\"") {
					t.Errorf("eth0 has the domain %q", d)
				}
			}
		})
	})
}

// mimic answers every packet with one that fit makes of both.
func mimic(conn net.PacketConn, packet []byte, fit func(asked, answer []byte) []byte) {
	buf := make([]byte, 2000)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if from.String() == conn.LocalAddr().String() {
			continue // our own, on a LAN where everybody hears all
		}
		conn.WriteTo(fit(buf[:n], append([]byte(nil), packet...)), from)
	}
}
