package discover_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

// The key server is on the link with nothing but a link-local address: the
// candidate has the zone that a connection needs.
func TestLinkLocalOnly(t *testing.T) {
	testlan.Need(t)
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
	lan.Start(testlan.Build(t, "latchkey/cmd/latchkey-responder"), "--interface", "lan0", "--target", "[fe80::5]:8443", "--check", "off")
	lan.Run("ip", "addr", "add", "fe80::5/64", "dev", "lan0", "nodad")
	f := find(t, discover.Query{URLs: []string{"http://kms.local:8443"}})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := f.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if want := "[fe80::5%eth0]:8443"; c.Addr.String() != want {
		t.Errorf("Next() = %s, want %s", c.Addr, want)
	}

	// Nothing listens there, but a refusal says that the packet arrived.
	_, err = new(net.Dialer).DialContext(ctx, "tcp", c.Addr.String())
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("connecting: %v, want it refused by the other side", err)
	}
}

// wires are the Sockets of a machine with several links, each to its own
// LAN.
type wires map[string]host

func (w wires) Direct(i discover.Interface, v6 bool) (net.PacketConn, error) {
	return w[i.Name].Direct(i, v6)
}

func (w wires) Group(i discover.Interface, v6 bool) (net.PacketConn, error) {
	return w[i.Name].Group(i, v6)
}

func (w wires) Dial(ctx context.Context, i discover.Interface, network string, to netip.AddrPort) (net.Conn, error) {
	return w[i.Name].Dial(ctx, i, network, to)
}

// A dead link and a wrong network beside the right one cost nothing, and
// a link that is plugged in later is asked at once.
func TestSeveralLinks(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, right *testlan.LAN) {
		dead, wrong := newLAN(), newLAN()
		dead.Lose = func([]byte, net.Addr, net.Addr) bool { return true }
		other := kms
		other.Host = "printer.local"
		at(wrong, 1).answer(t, ctx, other)
		at(right, 1).answer(t, ctx, kms)
		settled()
		machine := wires{"eth0": at(dead, 10), "eth1": at(wrong, 10), "eth2": at(right, 10)}
		f, err := discover.NewFinder(discover.Query{URLs: []string{"http://kms.local"}}, machine, logger(t))
		if err != nil {
			t.Fatal(err)
		}

		go f.Run(ctx)
		links := func(n int) []discover.Interface {
			var out []discover.Interface
			for i := range n {
				out = append(out, discover.Interface{Index: i + 1, Name: fmt.Sprintf("eth%d", i), Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}})
			}
			return out
		}

		f.Update(links(2))
		if got := next(ctx, f, 20*time.Second); got != "none" {
			t.Errorf("on the wrong links: %s, want none", got)
		}
		f.Update(links(3)) // plugged in after 20 s
		if got := next(ctx, f, 3*time.Millisecond); got != "192.0.2.5:7741" {
			t.Errorf("3 ms after the right link came: %s, want 192.0.2.5:7741", got)
		}

		// A link that is gone is not asked any more.
		f.Update(nil)
		time.Sleep(3 * time.Minute) // the responder has announced itself often enough
		sent := right.Sent()
		time.Sleep(time.Hour)
		if n := right.Sent() - sent; n != 0 {
			t.Errorf("%d packets on a link that is gone, want none", n)
		}
	})
}

// The responder answers each link with that link's address.
func TestAddressOfTheLink(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, one *testlan.LAN) {
		two := newLAN()
		own := kms
		own.Addrs = nil
		r, err := discover.NewResponder([]discover.Announcement{own}, wires{"eth0": at(one, 1), "eth1": at(two, 2)}, logger(t))
		if err != nil {
			t.Fatal(err)
		}

		r.Update([]discover.Interface{
			{Index: 1, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}},
			{Index: 2, Name: "eth1", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}},
		})
		go r.Run(ctx)
		settled()

		for want, lan := range map[string]*testlan.LAN{"192.0.2.1:7741": one, "192.0.2.2:7741": two} {
			f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}})
			if got := next(ctx, f, time.Second); got != want {
				t.Errorf("Next() = %s, want %s", got, want)
			}
			if got := next(ctx, f, time.Second); got != "none" {
				t.Errorf("a second candidate: %s, want none", got)
			}
		}
	})
}

// Known answers that did not fit into one packet come in more, which are
// waited for: RFC 6762, section 7.2.
func TestKnownAnswersInTwoPackets(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		at(lan, 1).answer(t, ctx, kms)
		settled()
		asker := ear{t, at(lan, 2).raw(5353)}
		question := []dns.Question{{Name: "_latchkey._tcp.local", Type: dns.TypePTR}}
		asker.conn.WriteTo(pack(t, dns.Message{Truncated: true, Questions: question}), &group)
		time.Sleep(10 * time.Millisecond)
		known := record("_latchkey._tcp.local", dns.PTR{Target: "kms._latchkey._tcp.local"})
		known.TTL = 4500
		asker.conn.WriteTo(pack(t, dns.Message{Answers: []dns.Record{known}}), &group)
		for _, m := range asker.within(2 * time.Second) {
			if m.Response {
				t.Errorf("answered %s, which the asker knows", show(m.Answers))
			}
		}

		asker.conn.WriteTo(pack(t, dns.Message{Truncated: true, Questions: question}), &group)
		answered := false
		for _, m := range asker.within(2 * time.Second) {
			answered = answered || m.Response
		}
		if !answered {
			t.Error("not answered when the rest of the known answers does not come")
		}
	})
}
