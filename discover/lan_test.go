package discover_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

var group = net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}

// A host is a machine on a LAN in memory; it is the Sockets of its
// finders and responders.
type host struct {
	lan  *testlan.LAN
	addr netip.Addr
}

// newLAN makes a LAN that delivers by UDP address.
func newLAN() *testlan.LAN {
	return &testlan.LAN{
		Hears: func(member, to net.Addr) bool {
			m, t := member.(*net.UDPAddr), to.(*net.UDPAddr)
			if m.Port != t.Port {
				return false
			}
			if t.IP.IsMulticast() {
				return m.Zone != toHost
			}
			return m.Zone != toGroup && m.IP.Equal(t.IP)
		},
		Delay: func() time.Duration { return time.Millisecond },
	}
}

func (h host) Group(_ discover.Interface, v6 bool) (net.PacketConn, error) {
	return h.join(v6, toGroup)
}

func (h host) Direct(_ discover.Interface, v6 bool) (net.PacketConn, error) {
	return h.join(v6, toHost)
}

// What a member of the LAN hears stands in the zone of its address; one
// without hears everything.
const (
	toGroup = "what is sent to the group"
	toHost  = "what is sent to the host"
)

func (h host) join(v6 bool, zone string) (net.PacketConn, error) {
	if v6 {
		return nil, errors.New("no IPv6 on this LAN")
	}
	return h.lan.Join(&net.UDPAddr{IP: h.addr.AsSlice(), Port: 5353, Zone: zone}), nil
}

func (h host) Dial(context.Context, discover.Interface, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.New("no DNS server on this LAN")
}

func (h host) link() []discover.Interface {
	return []discover.Interface{{Index: 1, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(h.addr, 24)}}}
}

// at is the host 192.0.2.n.
func at(lan *testlan.LAN, n byte) host { return host{lan, netip.AddrFrom4([4]byte{192, 0, 2, n})} }

// raw is a connection of the host for packets made by hand.
func (h host) raw(port int) *testlan.Conn {
	return h.lan.Join(&net.UDPAddr{IP: h.addr.AsSlice(), Port: port})
}

// answer starts a responder on the host until the test ends.
func (h host) answer(t *testing.T, ctx context.Context, all ...discover.Announcement) *discover.Responder {
	t.Helper()
	r, err := discover.NewResponder(all, h, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	r.Update(h.link())
	go r.Run(ctx)
	return r
}

// find starts a finder on the host until the test ends.
func (h host) find(t *testing.T, ctx context.Context, q discover.Query) *discover.Finder {
	t.Helper()
	f, err := discover.NewFinder(q, h, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	f.Update(h.link())
	go f.Run(ctx)
	return f
}

// bubble runs a test on a LAN whose clock is its own.
func bubble(t *testing.T, test func(t *testing.T, ctx context.Context, lan *testlan.LAN)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		test(t, ctx, newLAN())
		cancel()
		time.Sleep(time.Minute) // whatever sleeps wakes and sees that it is over
	})
}

// next returns the next candidate's address, or "none" after d.
func next(ctx context.Context, f *discover.Finder, d time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	c, err := f.Next(ctx)
	if err != nil {
		return "none"
	}
	return c.Addr.String()
}

// kms is a key server elsewhere, at 192.0.2.5:8443.
var kms = discover.Announcement{
	Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 8443,
	Services: []string{"_latchkey._tcp"}, Text: []string{"v=1"},
}

func TestFind(t *testing.T) {
	for _, row := range []struct {
		name  string
		query discover.Query
		want  string
		took  time.Duration // at most
	}{
		{"host", discover.Query{URLs: []string{"http://kms.local"}}, "192.0.2.5:7741", 2 * time.Millisecond},
		{"host and port", discover.Query{URLs: []string{"http://KMS.local.:80/"}}, "192.0.2.5:80", 2 * time.Millisecond},
		{"service", discover.Query{Services: []string{"_latchkey._tcp"}}, "192.0.2.5:8443", 122 * time.Millisecond},
		{"address", discover.Query{URLs: []string{"http://192.0.2.9:1"}}, "192.0.2.9:1", 0},
		{"another host", discover.Query{URLs: []string{"http://other.local"}}, "none", time.Hour},
		{"another service", discover.Query{Services: []string{"_kcrypt._tcp"}}, "none", time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
				at(lan, 1).answer(t, ctx, kms)
				time.Sleep(5 * time.Second) // of the bubble's clock: until it has probed
				f := at(lan, 10).find(t, ctx, row.query)
				start := time.Now()
				if got := next(ctx, f, row.took+time.Millisecond); got != row.want {
					t.Errorf("Next() = %s, want %s", got, row.want)
				}
				if took := time.Since(start); row.want != "none" && took > row.took {
					t.Errorf("Next() took %s, want at most %s", took, row.took)
				}
			})
		})
	}
}

func TestFindWithLoss(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		chance := rand.New(rand.NewPCG(1, 2))
		lan.Lose = func([]byte, net.Addr, net.Addr) bool { return chance.IntN(2) == 0 }
		at(lan, 1).answer(t, ctx, kms)
		f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}})
		if got := next(ctx, f, time.Minute); got != "192.0.2.5:7741" {
			t.Errorf("Next() = %s with half of the packets lost, want 192.0.2.5:7741", got)
		}
	})
}

func TestQuerySchedule(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		ear := at(lan, 2).raw(5353)
		at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp", "_kcrypt._tcp"}})
		start := time.Now()
		var at []time.Duration
		buf := make([]byte, 9000)
		for i := range 8 {
			n, _, err := ear.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}

			at = append(at, time.Since(start))
			m, err := dns.Parse(buf[:n])
			if err != nil {
				t.Fatal(err)
			}

			if len(m.Questions) != 4 || m.Questions[0].Unicast != (i == 0) {
				t.Errorf("query %d = %+v, want A, AAAA and two PTR, for unicast answers only the first", i, m.Questions)
			}
		}

		for i, want := range []time.Duration{0, 1, 3, 7, 15, 31, 63, 123} {
			want *= time.Second
			if d := at[i] - want; d < -want/10 || d > want/10+2*time.Millisecond {
				t.Errorf("query %d after %s, want %s within a tenth", i, at[i], want)
			}
		}
	})
}

func TestSetAside(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://192.0.2.1", "http://192.0.2.2"}})
		c, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}

		f.SetAside(c, discover.AsideTime)
		if got := next(ctx, f, time.Second); got != "192.0.2.2:7741" {
			t.Errorf("after the first: %s, want the second", got)
		}
		if got := next(ctx, f, 28*time.Second); got != "none" {
			t.Errorf("before the time aside is over: %s, want none", got)
		}

		if got := next(ctx, f, 2*time.Second); got != "192.0.2.1:7741" {
			t.Errorf("after the time aside: %s, want the first again", got)
		}
	})
}
