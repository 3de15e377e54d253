package netup_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"latchkey/internal/testlan"
	"latchkey/netup"
)

// together lays the cables of two links into one LAN.
func (k *fakeKernel) together(a, b int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lans[b] = k.lans[a]
	for _, p := range []netup.Protocol{netup.ARP, netup.NDP, netup.DHCP6} {
		k.lans[-1000*int(p)-b] = k.side(a, p)
	}
}

// answerARP makes the kernel answer ARP on a link for the addresses of all
// links, as Linux does unless it is told otherwise.
func (k *fakeKernel) answerARP(index int) {
	k.mu.Lock()
	mac := k.devices[index].MAC
	conn := k.side(index, netup.ARP).Join(netup.HWAddr(mac))
	k.mu.Unlock()
	go respond(conn, mac, func(a netip.Addr) bool {
		devices, _ := k.Devices()
		return slices.ContainsFunc(devices, func(d netup.Device) bool {
			return slices.ContainsFunc(d.Addrs, func(have netup.Addr) bool { return have.Addr() == a })
		})
	})
}

// respond answers ARP requests for the addresses that has knows.
func respond(conn net.PacketConn, mac net.HardwareAddr, has func(netip.Addr) bool) {
	buf := make([]byte, 100)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		p := bytes.Clone(buf[:n])
		target := netip.AddrFrom4([4]byte(p[24:28]))
		if p[7] != 1 || bytes.Equal(p[8:14], mac) || !has(target) {
			continue
		}

		p[7] = 2
		copy(p[18:24], p[8:14])
		copy(p[8:14], mac)
		copy(p[14:18], target.AsSlice())
		conn.WriteTo(p, netup.HWAddr(net.HardwareAddr{255, 255, 255, 255, 255, 255}))
	}
}

// leaseByMAC gives each client an address by its hardware address.
func leaseByMAC(r, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	a.YourIPAddr = net.IPv4(192, 0, 2, 100+r.ClientHWAddr[5])
	return a
}

// faults/network.md C1, threats F33: each row is a machine with two cables in
// one LAN whose kernel answers on each link for both. Nothing of it is
// another machine.
func TestTwoCablesInOneLAN(t *testing.T) {
	for _, row := range []struct{ name, cmdline, eth0, eth1 string }{
		{"DHCP", "", "192.0.2.101/24", "192.0.2.102/24"},
		{"static on the first, the second only plugged in", "ip=192.0.2.5::192.0.2.1:24::eth0:none", "192.0.2.5/24", ""},
		{"static without a link", "ip=192.0.2.5/24", "192.0.2.5/24", ""},
		{"static and DHCP", "ip=192.0.2.5/24:::::eth1:none ip=eth0:dhcp", "192.0.2.101/24", "192.0.2.5/24"},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings, problems := parse(t, row.cmdline)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			fake(t, func() *fakeKernel {
				k := newKernel(eth(1), eth(2))
				k.together(1, 2)
				serve(k, 1, 1, func(s *server) { s.reply = leaseByMAC })
				k.answerARP(1)
				k.answerARP(2)
				return k
			}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				time.Sleep(2 * time.Minute)
				if got0, got1 := s.addrs("eth0"), s.addrs("eth1"); got0 != row.eth0 || got1 != row.eth1 {
					t.Errorf("addresses %q and %q, want %q and %q", got0, got1, row.eth0, row.eth1)
				}
				if taken := k.told("DelAddr"); len(taken) > 0 {
					t.Errorf("operations %q, want no address taken off", taken)
				}
			})
		})
	}
}

// An address of no link in particular is on the link that reaches the
// gateway, and moves when that link's cable is pulled.
func TestAddressFindsItsLink(t *testing.T) {
	settings, _ := parse(t, "ip=192.0.2.5::192.0.2.1:24:::none")
	fake(t, func() *fakeKernel {
		k := newKernel(eth(1), eth(2), eth(3))
		squat(k, 2, func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") })
		return k
	}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		want := func(when, eth0, eth1, eth2 string) {
			t.Helper()
			if got := []string{s.addrs("eth0"), s.addrs("eth1"), s.addrs("eth2")}; !slices.Equal(got, []string{eth0, eth1, eth2}) {
				t.Errorf("%s: addresses %q, want %q", when, got, []string{eth0, eth1, eth2})
			}
		}
		settle()
		want("the gateway is on eth1", "", "192.0.2.5/24", "")
		k.carrier(2, false)
		settle()
		want("eth1 has no carrier", "192.0.2.5/24", "", "")
		if gone := k.told("DelRoute"); len(gone) != 2 {
			t.Errorf("operations %q, want the default route taken off eth0 and eth1", gone)
		}
		k.carrier(2, true)
		settle()
		want("eth1 has it again", "", "192.0.2.5/24", "")
		k.carrier(2, false)
		k.carrier(1, false)
		settle()
		want("only eth2 is left", "", "", "192.0.2.5/24")
	})
}

// bootdev= has the address of no link in particular.
func TestAddressPrefersBootdev(t *testing.T) {
	settings, _ := parse(t, "ip=192.0.2.5/24 bootdev=eth1")
	fake(t, func() *fakeKernel { return newKernel(eth(1), eth(2)) }, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		if s.addrs("eth0") != "" || s.addrs("eth1") != "192.0.2.5/24" {
			t.Errorf("eth0 has %q, eth1 %q, want the address on eth1 alone", s.addrs("eth0"), s.addrs("eth1"))
		}
	})
}

// The same on the real kernel: two veths into one bridge, dnsmasq on it.
func TestTwoCablesReal(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	for _, row := range []struct {
		name, cmdline, want string
		one                 bool
	}{
		{"DHCP", "", "192.0.2.", false},
		{"static", "ip=192.0.2.5::192.0.2.1:24::eth0:none", "192.0.2.5/24", true},
		{"static without a link", "ip=192.0.2.5::192.0.2.1:24", "192.0.2.5/24", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings, _ := parse(t, row.cmdline)
			lan := testlan.NewPeer(t)
			lan.Run("ip", "link", "add", "br0", "type", "bridge")
			for i, name := range []string{"lan0", "lan1"} {
				lan.Connect([]string{"eth0", "eth1"}[i], name)
				lan.Run("ip", "link", "set", name, "master", "br0", "up")
			}
			lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "br0")
			lan.Run("ip", "link", "set", "br0", "up")
			dnsmasq := saying(lan, "br0", "--dhcp-range=192.0.2.10,192.0.2.20,1h")

			updates := run(t, settings)
			addresses := func(name string) string {
				return testlan.Run(t, "ip", "-4", "addr", "show", "dev", name)
			}
			have := map[string]bool{}
			waitFor(t, updates, func(l netup.Link) bool {
				have[l.Name] = len(addresses4(l)) > 0
				return have["eth0"] && have["eth1"] || row.one && (have["eth0"] || have["eth1"])
			})
			time.Sleep(2 * time.Second) // in which nothing may happen: three probes of 300 ms
			eth0, eth1 := addresses("eth0"), addresses("eth1")
			if got := strings.Count(eth0+eth1, "inet "+row.want); got != 2 && !row.one || got != 1 && row.one {
				t.Errorf("the links have\n%s%swant %s on both, or one if it is static", eth0, eth1, row.want)
			}
			if out := dnsmasq(); strings.Contains(out, "DHCPDECLINE") {
				t.Errorf("dnsmasq was told DECLINE:\n%s", out)
			}
			// What others on the LAN learn is each link's own hardware address.
			for _, want := range []string{"arp_ignore = 1", "arp_announce = 2"} {
				key, _, _ := strings.Cut(want, " ")
				if out := testlan.Run(t, "sysctl", "net.ipv4.conf.eth0."+key); !strings.Contains(out, want) {
					t.Errorf("sysctl says %q, want %s", out, want)
				}
			}
		})
	}
}

// addresses4 are the link's IPv4 addresses.
func addresses4(l netup.Link) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(l.Addrs), func(p netip.Prefix) bool { return !p.Addr().Is4() })
}

// saying is dnsmasq on a link of a peer; it returns how to end it and get what
// it logged.
func saying(lan *testlan.Peer, link string, args ...string) func() string {
	return lan.Watch("sh", append([]string{"-c", `exec dnsmasq --no-daemon --conf-file=/dev/null --port=0 --bind-interfaces --no-ping --dhcp-authoritative --dhcp-leasefile=/run/leases "$@" 2>&1`, "sh", "--interface=" + link}, args...)...)
}
