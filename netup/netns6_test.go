package netup_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

// advertise names the DNS server 2001:db8::<hops>: RFC 8106.
func advertise(hops string) error {
	limit, err := strconv.Atoi(hops)
	if err != nil {
		return err
	}

	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS, limit)
		})
	}}

	conn, err := config.ListenPacket(context.Background(), "ip6:ipv6-icmp", "::")
	if err != nil {
		return err
	}

	ra := "\x86\x00\x00\x00\x40\x00\x07\x08" + strings.Repeat("\x00", 8) +
		"\x19\x03\x00\x00\x00\x00\x00\x3c\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + string([]byte{byte(limit)})
	_, err = conn.WriteTo([]byte(ra), &net.IPAddr{IP: net.ParseIP("ff02::1"), Zone: "lan0"})
	return err
}

func TestIPv6(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	for _, row := range []struct {
		name     string
		settings plan.Net
		dnsmasq  []string
		ok       func(netup.Link) bool
	}{
		{
			"SLAAC with DNS",
			plan.Net{},
			[]string{"--enable-ra", "--dhcp-range=2001:db8::,ra-only", "--dhcp-option=option6:dns-server,[2001:db8::1]"},
			func(l netup.Link) bool {
				return global6(l).Bits() == 64 && len(l.DNS) == 1 && l.DNS[0] == netip.MustParseAddr("2001:db8::1") && len(l.Gateways) == 1
			},
		},
		{
			"router says DHCPv6",
			plan.Net{},
			[]string{"--enable-ra", "--dhcp-range=2001:db8::100,2001:db8::100,64,1h"},
			func(l netup.Link) bool { return global6(l) == netip.MustParsePrefix("2001:db8::100/128") },
		},
		{
			"dhcp6 without router",
			plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.DHCP6}}}},
			[]string{"--dhcp-range=2001:db8::100,2001:db8::100,64,1h"},
			func(l netup.Link) bool { return global6(l) == netip.MustParsePrefix("2001:db8::100/64") },
		},
		{
			"either6 falls back",
			plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.Either6}}}, Timeouts: plan.NetTimeouts{IPv6Auto: time.Second}},
			[]string{"--dhcp-range=2001:db8::100,2001:db8::100,64,1h"},
			func(l netup.Link) bool { return global6(l) == netip.MustParsePrefix("2001:db8::100/64") },
		},
		{
			"link6 takes no prefix",
			plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.Link6}}}},
			[]string{"--enable-ra", "--dhcp-range=2001:db8::,ra-only"},
			func(l netup.Link) bool { return len(l.Addrs) == 1 && l.Addrs[0].Addr().IsLinkLocalUnicast() },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			lan := testlan.NewPeer(t)
			lan.Connect("eth0", "lan0")
			lan.Run("sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=0")
			lan.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "lan0")
			lan.Run("ip", "link", "set", "lan0", "up")
			if row.dnsmasq[0] != "--enable-ra" {
				// Without RA, dnsmasq joins the group only on addresses that it
				// finds when it starts.
				testlan.Run(t, "ip", "link", "set", "eth0", "up")
				awaitLinkLocal(t, lan)
			}
			dnsmasq(lan, row.dnsmasq...)
			waitFor(t, run(t, row.settings), row.ok)
		})
	}
}

// global6 is the link's first IPv6 address that is not link-local.
func global6(l netup.Link) netip.Prefix {
	for _, a := range l.Addrs {
		if a.Addr().Is6() && !a.Addr().IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Prefix{}
}

// An advertisement that has passed a router is not one of this link: RFC
// 4861, section 6.1.2.
func TestHopLimit(t *testing.T) {
	testlan.Need(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=0")
	lan.Run("ip", "link", "set", "lan0", "up")
	updates := run(t, plan.Net{})
	waitFor(t, updates, func(l netup.Link) bool { return len(l.Addrs) > 0 })
	awaitLinkLocal(t, lan)
	lan.Run("env", raEnv+"=254", exe)
	lan.Run("env", raEnv+"=255", exe)
	first := waitFor(t, updates, func(l netup.Link) bool { return len(l.DNS) > 0 })
	if want := netip.MustParseAddr("2001:db8::ff"); first.DNS[0] != want {
		t.Errorf("DNS = %v, want %s", first.DNS, want)
	}
}

// radvd's advertisements, with DNS and a search domain.
func TestRadvd(t *testing.T) {
	testlan.Need(t)
	if _, err := exec.LookPath("radvd"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs the program radvd: run images/deps")
		}
		t.Skip("needs the program radvd; dnsmasq's advertisements are tested in any case")
	}

	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=0", "net.ipv6.conf.all.forwarding=1")
	lan.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
	awaitLinkLocal(t, lan)
	conf := filepath.Join(t.TempDir(), "radvd.conf")
	text := "interface lan0 { AdvSendAdvert on; prefix 2001:db8::/64 {}; RDNSS 2001:db8::53 {}; DNSSL example.org {}; };\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}

	lan.Start("radvd", "--nodaemon", "--config", conf, "--pidfile", "/run/radvd.pid", "--logmethod", "stderr")
	waitFor(t, run(t, plan.Net{}), func(l netup.Link) bool {
		return global6(l).Bits() == 64 && len(l.DNS) == 1 && l.DNS[0] == netip.MustParseAddr("2001:db8::53") &&
			strings.Join(l.Domains, " ") == "example.org" && len(l.Gateways) == 1
	})
}

// awaitLinkLocal waits until a peer can send from its address on lan0.
func awaitLinkLocal(t *testing.T, lan *testlan.Peer) {
	t.Helper()
	testlan.Await(t, "lan0's address", func() bool {
		out := lan.Run("ip", "-6", "addr", "show", "dev", "lan0")
		return strings.Contains(out, "fe80") && !strings.Contains(out, "tentative")
	})
}
