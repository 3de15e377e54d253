package netup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/plan"
	"latchkey/netup"
)

// ra is a router advertisement: RFC 4861, section 4.2.
func ra(flags byte, lifetime uint16, options ...[]byte) []byte {
	p := make([]byte, 16)
	p[0], p[4], p[5] = 134, 64, flags
	binary.BigEndian.PutUint16(p[6:], lifetime)
	return append(p, bytes.Join(options, nil)...)
}

const managed, otherConfig = 0x80, 0x40

// rdnss is the option of RFC 8106, section 5.1.
func rdnss(lifetime uint32, servers ...string) []byte {
	o := []byte{25, byte(1 + 2*len(servers)), 0, 0}
	o = binary.BigEndian.AppendUint32(o, lifetime)
	for _, s := range servers {
		o = append(o, netip.MustParseAddr(s).AsSlice()...)
	}
	return o
}

// dnssl is the option of RFC 8106, section 5.2, with one domain of one label.
func dnssl(lifetime uint32, domain string) []byte {
	o := []byte{31, 0, 0, 0}
	o = binary.BigEndian.AppendUint32(o, lifetime)
	o = append(append(append(o, byte(len(domain))), domain...), 0)
	o = append(o, make([]byte, (8-len(o)%8)%8)...)
	o[1] = byte(len(o) / 8)
	return o
}

// advertiser is a router on the cable of a link.
func advertiser(k *fakeKernel, index int, address string) func(p []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	conn := k.side(index, netup.NDP).Join(&net.IPAddr{IP: net.ParseIP(address)})
	return func(p []byte) { conn.WriteTo(p, &net.IPAddr{IP: net.ParseIP("ff02::1")}) }
}

func dnsOf(l netup.Link) string {
	var out []string
	for _, a := range l.DNS {
		out = append(out, strings.TrimPrefix(a.String(), "2001:db8::"))
	}
	return strings.Join(out, " ")
}

// faults/network.md M1: what routers say is kept for each, and for as long as
// it says.
func TestRouters(t *testing.T) {
	fake(t, one, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		a, b := advertiser(k, 1, "fe80::a"), advertiser(k, 1, "fe80::b")
		want := func(when, dns, gateways, domains string) {
			t.Helper()
			settle()
			l := s.link("eth0")
			if dnsOf(l) != dns || strings.Trim(fmt.Sprint(l.Gateways), "[]") != gateways || strings.Join(l.Domains, " ") != domains {
				t.Errorf("%s: DNS %q, gateways %v, domains %v; want %q, %q, %q", when, dnsOf(l), l.Gateways, l.Domains, dns, gateways, domains)
			}
		}
		settle()
		a(ra(0, 1800, rdnss(600, "2001:db8::53"), dnssl(300, "org")))
		want("the first router", "53", "fe80::a", "org")
		b(ra(0, 0))
		want("another is no default router and knows no DNS", "53", "fe80::a", "org")
		b(ra(0, 1800, rdnss(60, "2001:db8::54")))
		want("another has DNS, too", "53 54", "fe80::a fe80::b", "org")
		a(ra(0, 1800, rdnss(600, "2001:db8::53"), dnssl(300, "org")))
		want("the first again", "53 54", "fe80::a fe80::b", "org")
		time.Sleep(60 * time.Second)
		want("the second's DNS has ended", "53", "fe80::a fe80::b", "org")
		a(ra(0, 0, rdnss(0, "2001:db8::53")))
		want("the first takes its DNS back and is no default router", "", "fe80::b", "org")
		time.Sleep(300 * time.Second)
		want("its domain has ended", "", "fe80::b", "")
		time.Sleep(1800 * time.Second)
		want("all has ended", "", "", "")
	})
}

// counted counts the lines of a log.
type counted struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *counted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *counted) lines(of string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Count(c.b.String(), of)
}

// Two routers that speak in turn, and one that invents a thousand, do not
// fill the console, and what is remembered is bounded.
func TestRoutersAreQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said, k := &counted{}, one()
		updates := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- netup.Run(ctx, k, plan.Net{}, slog.New(slog.NewTextHandler(said, nil)), func([]netup.Link) { updates++ })
		}()
		settle()
		before := updates
		a, b := advertiser(k, 1, "fe80::a"), advertiser(k, 1, "fe80::b")
		for range 100 {
			a(ra(0, 1800, rdnss(600, "2001:db8::53")))
			settle()
			b(ra(0, 0))
			settle()
		}
		if n := said.lines("link has a router"); n != 1 {
			t.Errorf("%d lines for two routers, want 1:\n%s", n, said.b.String())
		}
		if n := updates - before; n > 3 {
			t.Errorf("%d updates, want one for what is new", n) // and IPv4's
		}

		for i := range 1000 {
			advertiser(k, 1, fmt.Sprintf("fe80::1:%x", i+1))(ra(0, 1800, rdnss(600, fmt.Sprintf("2001:db8::1:%x", i+1))))
			time.Sleep(2 * time.Millisecond)
		}
		settle()
		if n := said.lines("link has a router"); n > 16 {
			t.Errorf("%d lines for a thousand routers, want at most 16", n)
		}

		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		for _, lan := range k.lans {
			lan.Close()
		}
		time.Sleep(time.Hour)
	})
}

// What routers said counts for some seconds on a link whose cable was out: it
// may be on another LAN.
func TestRoutersOfAnotherLAN(t *testing.T) {
	fake(t, one, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		advertiser(k, 1, "fe80::a")(ra(0, 1800, rdnss(600, "2001:db8::53")))
		settle()
		k.carrier(1, false)
		settle()
		k.carrier(1, true)
		settle()
		if got := dnsOf(s.link("eth0")); got != "53" {
			t.Errorf("a moment after, DNS is %q, want it kept", got)
		}
		time.Sleep(15 * time.Second)
		if got := dnsOf(s.link("eth0")); got != "" {
			t.Errorf("no router has spoken for 15 s, but DNS is %q", got)
		}
	})
}

// faults/network.md M3: IPv6 follows the router unless the options have a
// method for it, or none for the link.
func TestFollowsRouter(t *testing.T) {
	for _, row := range []struct {
		cmdline   string
		dns       string
		solicited bool
	}{
		{"", "53", true},
		{"ip=dhcp", "53", true},
		{"ip=eth0:dhcp", "53", true},
		{"ip=eth0:on", "53", true},
		{"ip=192.0.2.5::192.0.2.1:24::eth0:none", "53", true},
		{"ip=dhcp ip=[2001:db8::5]/64::::::none", "", false},
		{"ip=link6", "", false},
		{"ip=eth0:auto6", "53", false},
		{"ip=eth1:dhcp ip=eth0:off", "", false},
		{"ip=eth1:dhcp", "", false}, // of a link that no option names nothing is asked
	} {
		t.Run(row.cmdline, func(t *testing.T) {
			settings, _ := parse(t, row.cmdline)
			var asked func() []string
			fake(t, func() *fakeKernel {
				k := newKernel(eth(1), eth(2))
				asked = listen6(k, 1)
				return k
			}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				settle()
				advertiser(k, 1, "fe80::a")(ra(managed, 1800, rdnss(600, "2001:db8::53")))
				settle()
				if got := dnsOf(s.link("eth0")); got != row.dns {
					t.Errorf("DNS %q, want %q", got, row.dns)
				}
				if got := len(asked()) > 0; got != row.solicited {
					t.Errorf("DHCPv6 was asked: %v (%v), want %v, as the router says", got, asked(), row.solicited)
				}
			})
		})
	}
}

// Ten thousand advertisements in ten seconds cost some hundred looks at the
// links, and a router that speaks among them is heard in the end.
func TestRouterFlood(t *testing.T) {
	fake(t, one, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		flood, good := advertiser(k, 1, "fe80::bad"), advertiser(k, 1, "fe80::a")
		k.mu.Lock()
		before := k.looks
		k.mu.Unlock()
		for i := range 10000 {
			flood(ra(0, 1800, rdnss(600, fmt.Sprintf("2001:db8::%x", 1+i%8))))
			time.Sleep(time.Millisecond)
		}
		k.mu.Lock()
		looks := k.looks - before
		k.mu.Unlock()
		if looks > 500 {
			t.Errorf("%d looks at the links in 10 s, want at most 500", looks)
		}
		for range 300 {
			good(ra(0, 1800, rdnss(600, "2001:db8::53")))
			time.Sleep(time.Second)
		}
		if got := s.link("eth0").Gateways; len(got) != 2 {
			t.Errorf("gateways %v, want the flooding one and the good one", got)
		}
	})
}
