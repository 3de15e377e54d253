package discover_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

// FuzzHear gives a packet to a finder and to a responder. Neither may
// panic, and what the finder offers must be the address of a host.
func FuzzHear(f *testing.F) {
	for _, m := range []dns.Message{
		answers(a("kms.local", "192.0.2.5"), record("_latchkey._tcp.local", dns.PTR{Target: "x._latchkey._tcp.local"}),
			record("x._latchkey._tcp.local", dns.SRV{Port: 1, Target: "kms.local"}), record("x._latchkey._tcp.local", dns.Text("v=1"))),
		{Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeANY}}, Authorities: []dns.Record{a("kms.local", "192.0.2.6")}},
		{Truncated: true, Questions: []dns.Question{{Name: "_latchkey._tcp.local", Type: dns.TypePTR, Unicast: true}}},
	} {
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
			at(lan, 1).answer(t, ctx, kms)
			finder := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp"}})
			settled()
			lan.Join(net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.66:5353"))).WriteTo(packet, &group)
			time.Sleep(2 * time.Second)

			for {
				ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
				c, err := finder.Next(ctx)
				cancel()
				if err != nil {
					return
				}
				ip := c.Addr.Addr()
				if c.Addr.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
					t.Errorf("Next() = %v, want a host", c)
				}
			}
		})
	})
}

func TestQueryRefuses(t *testing.T) {
	for _, url := range []string{
		"", "kms.local", "ftp://kms.local", "https://kms.local", "http://kms.local/lk1", "http://", "http://:7741", "http://kms.local:0", "http://kms.local:65536", "http://kms.local:+1",
		"http://kms.local:x", "http://user@kms.local", "http://kms.local?x=1", "http://kms.local#x", "http://kms.local/%2e", "http://k ms.local",
		"http://0.0.0.0", "http://224.0.0.1", "http://[ff02::1]", "http://255.255.255.255", "http://kms..local", `http://kms\.local`,
		"http://k\x00ms.local", "http://[2001:db8::5", "http://2001:db8::5",
	} {
		if _, err := discover.NewFinder(discover.Query{URLs: []string{url}}, discover.System{}, logger(t)); err == nil {
			t.Errorf("NewFinder(%q) = nil, want an error", url)
		}
	}
	for _, service := range []string{"", "latchkey._tcp", "_latchkey", "_latchkey._sctp", "_._tcp", "_0123456789abcdefg._tcp"} {
		if _, err := discover.NewFinder(discover.Query{Services: []string{service}}, discover.System{}, logger(t)); err == nil {
			t.Errorf("NewFinder(service %q) = nil, want an error", service)
		}
	}
}

func TestQueryAddresses(t *testing.T) {
	for _, row := range []struct{ url, want string }{
		{"http://192.0.2.5", "192.0.2.5:7741"},
		{"http://192.0.2.5:80/", "192.0.2.5:80"},
		{"http://[2001:db8::5]:8443/", "[2001:db8::5]:8443"},
		{"http://[2001:db8::5]", "[2001:db8::5]:7741"},
		{"http://127.0.0.1:1", "127.0.0.1:1"},
	} {
		f, err := discover.NewFinder(discover.Query{URLs: []string{row.url}}, discover.System{}, logger(t))
		if err != nil {
			t.Errorf("NewFinder(%q) = %v, want nil", row.url, err)
			continue
		}
		if got := next(t.Context(), f, time.Second); got != row.want {
			t.Errorf("NewFinder(%q).Next() = %s, want %s", row.url, got, row.want)
		}
	}
}
