package netup_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/boot/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

func TestMain(m *testing.M) { testlan.Main(m) }

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
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		done <- netup.Run(ctx, netup.Linux{}, settings, log, func(l []netup.Link) { updates <- l })
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
