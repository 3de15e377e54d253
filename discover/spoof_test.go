package discover_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

// a is an A record, ptr, srv the others, as an attacker or a clumsy
// responder would make them.
func a(name dns.Name, addr string) dns.Record {
	return record(name, dns.A{Addr: netip.MustParseAddr(addr)})
}

func record(name dns.Name, d dns.Data) dns.Record {
	return dns.Record{Name: name, Class: dns.ClassIN, TTL: 120, Data: d}
}

func pack(t testing.TB, m dns.Message) []byte {
	t.Helper()
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

func answers(records ...dns.Record) dns.Message {
	return dns.Message{Response: true, Authoritative: true, Answers: records}
}

// Each row is one packet, sent to a finder that looks for kms.local and
// _latchkey._tcp.
func TestAnswers(t *testing.T) {
	good := a("kms.local", "192.0.2.5")
	instance := dns.Name(`Key server v1\.2._latchkey._tcp.local`)
	srv := record(instance, dns.SRV{Port: 8443, Target: "kms.local"})
	ptr := record("_latchkey._tcp.local", dns.PTR{Target: instance})
	for _, row := range []struct {
		name    string
		from    string
		message dns.Message
		want    []string
	}{
		{"plain", "192.0.2.1:5353", answers(good), []string{"192.0.2.5:7741"}},
		{"with an id", "192.0.2.1:5353", dns.Message{ID: 9, Response: true, Answers: []dns.Record{good}}, []string{"192.0.2.5:7741"}},
		{"with the question", "192.0.2.1:5353", dns.Message{Response: true, Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeA}}, Answers: []dns.Record{good}}, []string{"192.0.2.5:7741"}},
		{"in additionals", "192.0.2.1:5353", dns.Message{Response: true, Additionals: []dns.Record{good}}, []string{"192.0.2.5:7741"}},
		{"other case", "192.0.2.1:5353", answers(a("KMS.Local", "192.0.2.5")), []string{"192.0.2.5:7741"}},
		{"from a link-local address", "169.254.7.7:5353", answers(good), []string{"192.0.2.5:7741"}},
		{"service, whole", "192.0.2.1:5353", answers(ptr, srv, a("kms.local", "192.0.2.5")), []string{"192.0.2.5:7741", "192.0.2.5:8443"}},
		{"service without PTR", "192.0.2.1:5353", answers(srv, a("kms.local", "192.0.2.5")), []string{"192.0.2.5:7741", "192.0.2.5:8443"}},
		{"two addresses", "192.0.2.1:5353", answers(good, a("kms.local", "192.0.2.6")), []string{"192.0.2.5:7741", "192.0.2.6:7741"}},
		{"no answer but a query", "192.0.2.1:5353", dns.Message{Answers: []dns.Record{good}}, nil},
		{"from another network on the same link", "198.51.100.1:5353", answers(good), []string{"192.0.2.5:7741"}}, // faults/network.md D1
		{"from another port", "192.0.2.1:5354", answers(good), nil},
		{"with an error code", "192.0.2.1:5353", dns.Message{Response: true, RCode: 3, Answers: []dns.Record{good}}, nil},
		{"another opcode", "192.0.2.1:5353", dns.Message{Response: true, Opcode: 5, Answers: []dns.Record{good}}, nil},
		{"another name", "192.0.2.1:5353", answers(a("evil.local", "192.0.2.5")), nil},
		{"unspecified", "192.0.2.1:5353", answers(a("kms.local", "0.0.0.0")), nil},
		{"this network", "192.0.2.1:5353", answers(a("kms.local", "0.1.2.3")), nil},
		{"loopback", "192.0.2.1:5353", answers(a("kms.local", "127.0.0.1")), nil},
		{"multicast", "192.0.2.1:5353", answers(a("kms.local", "224.0.0.1")), nil},
		{"broadcast", "192.0.2.1:5353", answers(a("kms.local", "255.255.255.255")), nil},
		{"broadcast of the link", "192.0.2.1:5353", answers(a("kms.local", "192.0.2.255")), nil},
		{"IPv4 in IPv6", "192.0.2.1:5353", answers(record("kms.local", dns.AAAA{Addr: netip.MustParseAddr("::ffff:192.0.2.5")})), nil},
		{"port 0", "192.0.2.1:5353", answers(record(instance, dns.SRV{Target: "x.local"}), a("x.local", "192.0.2.5")), nil},
		{"instance of another service", "192.0.2.1:5353", answers(record("_latchkey._tcp.local", dns.PTR{Target: "x._http._tcp.local"}), record("x._http._tcp.local", dns.SRV{Port: 1, Target: "x.local"}), a("x.local", "192.0.2.5")), nil},
		{"goodbye", "192.0.2.1:5353", answers(dns.Record{Name: "kms.local", Class: dns.ClassIN, Data: dns.A{Addr: netip.MustParseAddr("192.0.2.5")}}), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
				f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp"}})
				synctest.Wait()
				from := lan.Join(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(row.from)))
				from.WriteTo(pack(t, row.message), &group)
				var got []string
				for c := next(ctx, f, time.Second); c != "none"; c = next(ctx, f, time.Second) {
					got = append(got, c)
				}
				slices.Sort(got)
				if !slices.Equal(got, row.want) {
					t.Errorf("candidates = %v, want %v", got, row.want)
				}
			})
		})
	}
}

func TestGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		until, stop := context.WithCancel(ctx)
		at(lan, 1).answer(t, until, kms)
		f := at(lan, 10).find(t, ctx, discover.Query{Services: []string{"_latchkey._tcp"}})
		c, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}

		f.SetAside(c, time.Minute)
		stop()
		if got := next(ctx, f, time.Hour); got != "none" {
			t.Errorf("after the goodbye: %s, want none", got)
		}

		// The key server moves to another address and is found again.
		moved := kms
		moved.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.77")}
		at(lan, 1).answer(t, ctx, moved)
		if got := next(ctx, f, time.Minute); got != "192.0.2.77:8443" {
			t.Errorf("after the move: %s, want 192.0.2.77:8443", got)
		}
	})
}

// Instances that come without addresses are asked for more.
func TestFollowUp(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		lan.Lose = func(p []byte, from, to net.Addr) bool {
			m, err := dns.Parse(p)
			return err == nil && m.Response && len(m.Answers) > 1 // announcements
		}
		f := at(lan, 10).find(t, ctx, discover.Query{Services: []string{"_latchkey._tcp"}})
		at(lan, 1).answer(t, ctx, kms)
		time.Sleep(10 * time.Second)
		// Only the PTR, as from a responder that adds nothing.
		at(lan, 2).raw(5353).WriteTo(pack(t, answers(record("_latchkey._tcp.local", dns.PTR{Target: "kms._latchkey._tcp.local"}))), &group)
		if got := next(ctx, f, 10*time.Millisecond); got != "192.0.2.5:8443" {
			t.Errorf("Next() = %s, want 192.0.2.5:8443 after a question for the rest", got)
		}
	})
}

// An attacker forges instances for ever; the true server must still come,
// and memory must not grow.
func TestFlood(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp"}})
		evil := at(lan, 66).raw(5353)
		go func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := dns.Name(fmt.Sprintf("evil%d._latchkey._tcp.local", i))
				host := dns.Name(fmt.Sprintf("evil%d.local", i))
				addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
				evil.WriteTo(pack(t, answers(
					record("_latchkey._tcp.local", dns.PTR{Target: name}), record(name, dns.SRV{Port: 1, Target: host}),
					record(host, dns.A{Addr: addr}), record("kms.local", dns.A{Addr: addr}))), &group)
				time.Sleep(5 * time.Millisecond)
			}
		}()

		time.Sleep(5 * time.Second)
		at(lan, 1).answer(t, ctx, kms)
		start := time.Now()
		for tried := 0; ; tried++ {
			c, err := f.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}

			if c.Addr.Addr() == kms.Addrs[0] {
				t.Logf("found after %d forged ones, %s", tried, time.Since(start))
				break
			}

			time.Sleep(10 * time.Millisecond) // refused at once
			f.SetAside(c, discover.AsideTime)
			// A few in a hundred runs lose the first announcement to the flood;
			// the next question comes after 30 s at the latest.
			if time.Since(start) > time.Minute {
				t.Fatalf("not found within a minute, after %d forged ones", tried)
			}
		}
	})
}

// Whoever floods first does not push the true server out, however many
// forged ones come before a candidate is asked for.
func TestFloodBeforeUse(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}})
		at(lan, 1).answer(t, ctx, kms)
		settled()
		evil := at(lan, 66).raw(5353)
		for i := range 1000 {
			evil.WriteTo(pack(t, answers(record("kms.local", dns.A{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}))), &group)
			time.Sleep(time.Millisecond)
		}
		for range 3 {
			if next(ctx, f, time.Second) == "192.0.2.5:7741" {
				return
			}
		}
		t.Error("the true server is not among the first three candidates")
	})
}

// A key server that is away for a day costs a bounded number of packets
// and no memory.
func TestAwayForADay(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}})
		time.Sleep(time.Hour)
		sent, memory := lan.Sent(), heap()
		time.Sleep(24 * time.Hour)
		if n := lan.Sent() - sent; n < 1370 || n > 1510 {
			t.Errorf("%d queries in a day, want about one in a minute", n)
		}
		if grown := heap() - memory; grown > 1<<20 {
			t.Errorf("memory grew by %d bytes in a day", grown)
		}
	})
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Garbage to both sides: neither dies, both still do their work.
func TestGarbage(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		at(lan, 1).answer(t, ctx, kms)
		f := at(lan, 10).find(t, ctx, discover.Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp"}})
		evil := at(lan, 66).raw(5353)
		chance := rand.New(rand.NewPCG(3, 4))
		valid := pack(t, answers(a("kms.local", "192.0.2.66"), record("_latchkey._tcp.local", dns.PTR{Target: "x._latchkey._tcp.local"})))
		for range 2000 {
			packet := make([]byte, chance.IntN(200))
			for i := range packet {
				packet[i] = byte(chance.Uint32())
			}
			evil.WriteTo(packet, &group)
			mutant := slices.Clone(valid)
			for range 1 + chance.IntN(4) {
				mutant[chance.IntN(len(mutant))] = byte(chance.Uint32())
			}
			evil.WriteTo(mutant[:1+chance.IntN(len(mutant))], &group)
			time.Sleep(time.Millisecond)
		}

		for {
			got := next(ctx, f, time.Minute)
			if got == "192.0.2.5:8443" {
				return
			}
			if got == "none" {
				t.Fatal("the key server is not found after the garbage")
			}
		}
	})
}
