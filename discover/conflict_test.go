package discover_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

func TestConflict(t *testing.T) {
	for _, row := range []struct {
		name   string
		theirs dns.Record
		want   string // host and instance afterwards
	}{
		{"host elsewhere", a("kms.local", "192.0.2.66"), "kms-2.local kms"},
		{"host with another family", record("kms.local", dns.AAAA{Addr: netip.MustParseAddr("2001:db8::66")}), "kms-2.local kms"},
		{"instance elsewhere", record("kms._latchkey._tcp.local", dns.SRV{Port: 1, Target: "x.local"}), "kms.local kms (2)"},
		{"the same answer of a twin", a("kms.local", "192.0.2.5"), "kms.local kms"},
		{"another name", a("other.local", "192.0.2.66"), "kms.local kms"},
		{"a shared record", record("_latchkey._tcp.local", dns.PTR{Target: "x._latchkey._tcp.local"}), "kms.local kms"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
				r := at(lan, 1).answer(t, ctx, kms)
				asker := ear{t, at(lan, 66).raw(5353)}
				asker.within(260 * time.Millisecond) // a first probe
				asker.conn.WriteTo(pack(t, answers(row.theirs)), &group)
				settled()
				got := r.Announcements()[0]
				if s := got.Host + " " + got.Instance; s != row.want {
					t.Errorf("names = %q, want %q", s, row.want)
				}
			})
		})
	}
}

// Once a name is ours, a forged answer does not take it: it is defended,
// once a second.
func TestDefend(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		r := at(lan, 1).answer(t, ctx, kms)
		settled()
		evil := ear{t, at(lan, 66).raw(5353)}
		for range 100 {
			evil.conn.WriteTo(pack(t, answers(a("kms.local", "192.0.2.66"))), &group)
			time.Sleep(10 * time.Millisecond)
		}

		if got := r.Announcements()[0].Host; got != "kms.local" {
			t.Errorf("the name is %s, want kms.local kept", got)
		}
		if n := r.Stats().Challenges; n != 100 {
			t.Errorf("%d challenges counted, want 100", n)
		}

		defended := 0
		for _, m := range evil.within(time.Millisecond) {
			if m.Response && strings.Contains(show(m.Answers), "192.0.2.5") {
				defended++
			}
		}

		if defended < 1 || defended > 2 {
			t.Errorf("defended %d times within a second, want once or twice", defended)
		}
	})
}

// Two responders that want one name at the same time for different things
// end with two names, and both are found.
func TestTie(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		other := kms
		other.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.6")}
		other.Services = []string{"_kcrypt._tcp"}
		one, two := at(lan, 1).answer(t, ctx, kms), at(lan, 2).answer(t, ctx, other)
		time.Sleep(20 * time.Second)
		names := []string{one.Announcements()[0].Host, two.Announcements()[0].Host}
		slices.Sort(names)
		if !slices.Equal(names, []string{"kms-2.local", "kms.local"}) {
			t.Errorf("names = %q, want kms.local and kms-2.local", names)
		}

		f := at(lan, 10).find(t, ctx, discover.Query{Services: []string{"_latchkey._tcp", "_kcrypt._tcp"}})
		found := []string{next(ctx, f, time.Second), next(ctx, f, time.Second)}
		slices.Sort(found)
		if !slices.Equal(found, []string{"192.0.2.5:8443", "192.0.2.6:8443"}) {
			t.Errorf("found %q, want both servers", found)
		}
	})
}

// A responder that answers for its own machine follows its addresses.
func TestAddressChange(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		own := kms
		own.Addrs = nil
		h := at(lan, 1)
		r := h.answer(t, ctx, own)
		settled()
		f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}})
		if got := next(ctx, f, time.Second); got != "192.0.2.1:7741" {
			t.Errorf("Next() = %s, want 192.0.2.1:7741", got)
		}

		link := h.link()
		link[0].Addrs = append(link[0].Addrs[:0:0], netip.MustParsePrefix("192.0.2.77/24"))
		r.Update(link)
		if got := next(ctx, f, time.Second); got != "192.0.2.77:7741" {
			t.Errorf("after the change Next() = %s, want 192.0.2.77:7741", got)
		}
	})
}

func TestAnnounceRefuses(t *testing.T) {
	for _, row := range []struct {
		name string
		a    discover.Announcement
	}{
		{"no host", discover.Announcement{}},
		{"not local", discover.Announcement{Host: "kms.example.org"}},
		{"only local", discover.Announcement{Host: "local"}},
		{"blank in the host", discover.Announcement{Host: "k ms.local"}},
		{"label too long", discover.Announcement{Host: strings.Repeat("k", 64) + ".local"}},
		{"service without port", discover.Announcement{Host: "kms.local", Services: []string{"_latchkey._tcp"}}},
		{"bad service", discover.Announcement{Host: "kms.local", Port: 1, Services: []string{"latchkey"}}},
		{"service too long", discover.Announcement{Host: "kms.local", Port: 1, Services: []string{"_0123456789abcdefg._tcp"}}},
		{"multicast target", discover.Announcement{Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("224.0.0.251")}}},
		{"empty text", discover.Announcement{Host: "kms.local", Text: []string{""}}},
		{"instance too long", discover.Announcement{Host: "kms.local", Instance: strings.Repeat("k", 64)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := discover.NewResponder([]discover.Announcement{row.a}, discover.System{}, logger(t)); err == nil {
				t.Error("NewResponder() = nil, want an error")
			} else {
				t.Log(err)
			}
		})
	}
}
