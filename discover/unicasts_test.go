package discover_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

// alone counts the answers that an ear gets for itself, of those it hears in
// a time, with how many others everybody hears.
func (c *conf) alone(e ear, d time.Duration, ask func()) (alone, all int) {
	other := c.ear(99)
	ask()
	heard := len(responses(e.packets(d)))
	all = len(responses(other.packets(time.Millisecond)))
	return heard - all, all
}

// D7: whoever forges a neighbor's address in questions makes a responder send
// 32 answers to that neighbor at once, and 8 a second; what is beyond is
// answered to everybody, as questions without that bit are, once a second.
// Other addresses are answered meanwhile.
func TestUnicastAnswersAreBounded(t *testing.T) {
	for _, row := range []struct {
		name string
		port int
		m    dns.Message
	}{
		{"questions for a unicast answer", 5353, direct("kms.local", dns.TypeA)},
		{"those of a service", 5353, direct("_latchkey._tcp.local", dns.TypePTR)},
		{"questions of a simple resolver", 40000, question("kms.local", dns.TypeA)},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
				c := &conf{t, ctx, lan}
				r := c.settled(kms)
				e := ear{t, at(lan, 2).raw(row.port)}
				alone, all := c.alone(e, 500*time.Millisecond, func() {
					for range 200 {
						e.say(row.m)
					}
				})
				if alone != 32 || all > 2 {
					t.Errorf("200 questions at once: %d answers to the asker, %d to all, want 32 and at most 2", alone, all)
				}
				if n := r.Stats().Limited; n != 168 {
					t.Errorf("Stats count %d answers that were not sent to one machine, want 168", n)
				}

				time.Sleep(2500 * time.Millisecond) // 3 s since the burst
				alone, _ = c.alone(e, 200*time.Millisecond, func() {
					for range 200 {
						e.say(row.m)
					}
				})
				if alone < 22 || alone > 25 {
					t.Errorf("3 s later: %d answers to the asker, want 24", alone)
				}
				other := ear{t, at(lan, 3).raw(row.port)}
				if n := len(responses(other.asks(500*time.Millisecond, row.m))); n == 0 {
					t.Error("another machine is not answered meanwhile")
				}
			})
		})
	}
}

// Forged addresses without end cost no memory without end; who asks then is
// answered as everybody is.
func TestUnicastAskersAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		c := &conf{t, ctx, lan}
		r := c.settled(kms)
		base := netip.MustParseAddr("192.0.2.1").As4()
		for i := range 1200 {
			addr := netip.AddrFrom4([4]byte{base[0], base[1], byte(i >> 8), byte(i)})
			ear{t, host{lan, addr}.raw(40000)}.say(question("kms.local", dns.TypeA))
			if i%16 == 0 {
				time.Sleep(time.Millisecond) // a socket's buffer has an end
			}
		}
		time.Sleep(time.Millisecond)
		if n := r.Stats().Limited; n < 150 || n > 180 {
			t.Errorf("of 1,200 addresses %d were not answered alone, want about 176", n)
		}
		time.Sleep(time.Minute)
		if n := len(responses((ear{t, at(lan, 77).raw(40000)}).asks(time.Second, question("kms.local", dns.TypeA)))); n != 1 {
			t.Errorf("a minute later a machine gets %d answers, want 1", n)
		}
	})
}
