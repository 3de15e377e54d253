package netup_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

// raEnv makes this test program a machine that sends one router
// advertisement on lan0 with this hop limit.
const raEnv = "LATCHKEY_TEST_RA_HOPS"

// dialEnv makes it a machine that connects to this address.
const dialEnv = "LATCHKEY_TEST_DIAL"

func TestMain(m *testing.M) {
	if to := os.Getenv(trackEnv); to != "" {
		fmt.Fprintln(os.Stderr, track(to))
		os.Exit(1)
	}
	if addr := os.Getenv(dialEnv); addr != "" {
		conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		conn.Close()
		return
	}
	if hops := os.Getenv(raEnv); hops != "" {
		if err := advertise(hops); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testlan.Main(m)
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
	server, err := net.Listen("tcp4", netip.AddrPortFrom(l.Addrs[0].Addr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lan.Run("env", dialEnv+"="+server.Addr().String(), exe)
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
