package netup_test

import (
	"context"
	"fmt"
	"log/slog"
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

	"latchkey/boot/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

// raEnv makes this test program a machine that sends one router
// advertisement on lan0 with this hop limit.
const raEnv = "LATCHKEY_TEST_RA_HOPS"

func TestMain(m *testing.M) {
	if hops := os.Getenv(raEnv); hops != "" {
		if err := advertise(hops); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testlan.Main(m)
}

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
	testlan.Await(t, "lan0's address", func() bool { return strings.Contains(lan.Run("ip", "-6", "addr", "show", "dev", "lan0"), "fe80") })
	lan.Run("env", raEnv+"=254", exe)
	lan.Run("env", raEnv+"=255", exe)
	first := waitFor(t, updates, func(l netup.Link) bool { return len(l.DNS) > 0 })
	if want := netip.MustParseAddr("2001:db8::ff"); first.DNS[0] != want {
		t.Errorf("DNS = %v, want %s", first.DNS, want)
	}
}

// run starts netup on the real kernel and returns its updates.
func run(t testing.TB, settings plan.Net) <-chan []netup.Link {
	t.Helper()
	updates, stop := start(t, settings)
	t.Cleanup(stop)
	return updates
}

// start is run with a function that ends it.
func start(t testing.TB, settings plan.Net) (<-chan []netup.Link, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	updates := make(chan []netup.Link, 1000)
	done := make(chan error)
	go func() {
		done <- netup.Run(ctx, netup.Linux{}, settings, logger(t), func(l []netup.Link) { updates <- l })
	}()
	return updates, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}
}

// waitFor returns the first link that ok likes.
func waitFor(t testing.TB, updates <-chan []netup.Link, ok func(netup.Link) bool) netup.Link {
	t.Helper()
	end := time.After(20 * time.Second)
	var last []netup.Link
	for {
		select {
		case last = <-updates:
			for _, l := range last {
				if ok(l) {
					return l
				}
			}
		case <-end:
			t.Fatalf("no such link within 20 s; last update: %+v", last)
		}
	}
}

func has(prefix string) func(netup.Link) bool {
	return func(l netup.Link) bool {
		for _, a := range l.Addrs {
			if a == netip.MustParsePrefix(prefix) {
				return true
			}
		}
		return false
	}
}

func TestDHCP(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	lan.Start("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=lan0", "--bind-interfaces", "--no-ping", "--dhcp-authoritative",
		"--dhcp-leasefile=/run/leases", "--dhcp-range=192.0.2.10,192.0.2.10,1h", "--dhcp-option=option:dns-server,192.0.2.1", "--dhcp-option=option:mtu,1400")
	updates := run(t, plan.Net{})
	l := waitFor(t, updates, has("192.0.2.10/24"))
	if len(l.DNS) != 1 || l.DNS[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("DNS = %v, want [192.0.2.1]", l.DNS)
	}
}

func TestRelease(t *testing.T) {
	testlan.Need(t)
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	show := func() string {
		out := testlan.Run(t, "ip", "-d", "address", "show", "dev", "eth0")
		return strings.Replace(out, "qdisc noqueue", "qdisc noop", 1)
	}
	before := show()
	updates, stop := start(t, plan.Net{IPs: []plan.IP{{Link: "eth0", Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("192.0.2.10/24"), MTU: 1400, MAC: "02:00:00:00:00:07"}}})
	waitFor(t, updates, has("192.0.2.10/24"))
	stop()
	if err := netup.Release(netup.Linux{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("Release() = %v, want nil", err)
	}
	if after := show(); after != before {
		t.Errorf("after Release:\n%swant as before:\n%s", after, before)
	}
}

// dnsmasq serves a peer's link lan0.
func dnsmasq(lan *testlan.Peer, args ...string) {
	lan.Start("dnsmasq", append([]string{
		"--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=lan0", "--bind-interfaces", "--no-ping",
		"--dhcp-authoritative", "--dhcp-leasefile=/run/leases", "--log-dhcp",
	}, args...)...)
}

func TestIPv6(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	for _, row := range []struct {
		name     string
		settings plan.Net
		dnsmasq  []string
		ok       func(netup.Link) bool
	}{
		{"SLAAC with DNS", plan.Net{}, []string{"--enable-ra", "--dhcp-range=2001:db8::,ra-only", "--dhcp-option=option6:dns-server,[2001:db8::1]"},
			func(l netup.Link) bool {
				return global6(l).Bits() == 64 && len(l.DNS) == 1 && l.DNS[0] == netip.MustParseAddr("2001:db8::1") && len(l.Gateways) == 1
			}},
		{"router says DHCPv6", plan.Net{}, []string{"--enable-ra", "--dhcp-range=2001:db8::100,2001:db8::100,64,1h"},
			func(l netup.Link) bool { return global6(l) == netip.MustParsePrefix("2001:db8::100/128") }},
		{"dhcp6 without router", plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.DHCP6}}}}, []string{"--dhcp-range=2001:db8::100,2001:db8::100,64,1h"},
			func(l netup.Link) bool { return global6(l) == netip.MustParsePrefix("2001:db8::100/64") }},
		{"either6 falls back", plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.Either6}}}, Timeouts: plan.NetTimeouts{IPv6Auto: time.Second}},
			[]string{"--dhcp-range=2001:db8::100,2001:db8::100,64,1h"},
			func(l netup.Link) bool { return global6(l) == netip.MustParsePrefix("2001:db8::100/64") }},
		{"link6 takes no prefix", plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.Link6}}}}, []string{"--enable-ra", "--dhcp-range=2001:db8::,ra-only"},
			func(l netup.Link) bool { return len(l.Addrs) == 1 && l.Addrs[0].Addr().IsLinkLocalUnicast() }},
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
				testlan.Await(t, "lan0's address", func() bool { return strings.Contains(lan.Run("ip", "-6", "addr", "show", "dev", "lan0"), "fe80") })
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

func TestNoServer(t *testing.T) {
	testlan.Need(t)
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	updates := run(t, plan.Net{})
	waitFor(t, updates, func(l netup.Link) bool { return len(l.Addrs) > 0 && l.Addrs[0].Addr().Is6() })
	l := waitFor(t, updates, func(l netup.Link) bool {
		return len(l.Addrs) > 1 && l.Addrs[0].Addr().Is4() && l.Addrs[0].Addr().IsLinkLocalUnicast()
	})
	lan.Run("ip", "addr", "add", "169.254.0.1/16", "dev", "lan0")
	lan.Run("ping", "-c1", "-W2", l.Addrs[0].Addr().String())
}

func TestBridge(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	dnsmasq(lan, "--dhcp-range=192.0.2.10,192.0.2.10,1h")
	updates, stop := start(t, plan.Net{Bridges: []plan.Bridge{{Name: "br0", Ports: []string{"eth0"}}}})
	l := waitFor(t, updates, has("192.0.2.10/24"))
	if l.Name != "br0" {
		t.Errorf("link %s has the address, want br0", l.Name)
	}
	stop()
	if err := netup.Release(netup.Linux{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("Release() = %v, want nil", err)
	}
	if links := testlan.Run(t, "ip", "link"); strings.Contains(links, "br0") {
		t.Errorf("br0 is still there after Release:\n%s", links)
	}
}

func TestRename(t *testing.T) {
	testlan.Need(t)
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Connect("eth1", "lan1")
	lan.Run("ip", "link", "set", "lan0", "up")
	testlan.Run(t, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:01")
	testlan.Run(t, "ip", "link", "set", "eth1", "address", "02:00:00:00:00:02")
	// The two change their names, the hardest case.
	updates, stop := start(t, plan.Net{
		Names: []plan.LinkName{{Name: "eth1", MAC: "02:00:00:00:00:01"}, {Name: "eth0", MAC: "02:00:00:00:00:02"}},
	})
	waitFor(t, updates, func(l netup.Link) bool { return l.Name == "eth1" && l.MAC.String() == "02:00:00:00:00:01" && l.Up })
	stop()
	if err := netup.Release(netup.Linux{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("Release() = %v, want nil", err)
	}
	if out := testlan.Run(t, "ip", "-br", "link", "show", "dev", "eth0"); !strings.Contains(out, "02:00:00:00:00:01") {
		t.Errorf("eth0 is %s, want its own address back", out)
	}
}

// radvd's advertisements, with DNS and a search domain.
func TestRadvd(t *testing.T) {
	testlan.Need(t)
	if _, err := exec.LookPath("radvd"); err != nil {
		t.Skip("needs the program radvd; dnsmasq's advertisements are tested in any case")
	}
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=0", "net.ipv6.conf.all.forwarding=1")
	lan.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
	testlan.Await(t, "lan0's address", func() bool { return strings.Contains(lan.Run("ip", "-6", "addr", "show", "dev", "lan0"), "fe80") })
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
