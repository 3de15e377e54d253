package discover_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

// An ear collects the messages that a connection hears.
type ear struct {
	t    *testing.T
	conn net.PacketConn
}

// within returns what is heard until d from now.
func (e ear) within(d time.Duration) []*dns.Message {
	e.t.Helper()
	e.conn.SetReadDeadline(time.Now().Add(d))
	var out []*dns.Message
	buf := make([]byte, 9001)
	for {
		n, _, err := e.conn.ReadFrom(buf)
		if err != nil {
			return out
		}
		m, err := dns.Parse(buf[:n])
		if err != nil {
			e.t.Fatalf("the responder sent %x: %v", buf[:n], err)
		}
		out = append(out, m)
	}
}

// show writes records as text, one per line.
func show(records []dns.Record) string {
	var b strings.Builder
	for _, r := range records {
		flush := ""
		if r.Flush {
			flush = " flush"
		}
		fmt.Fprintf(&b, "%s %d%s %+v\n", r.Name, r.TTL, flush, r.Data)
	}
	return b.String()
}

// settled waits until a responder has probed and announced.
func settled() { time.Sleep(5 * time.Second) }

func TestProbeAndAnnounce(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		e := ear{t, at(lan, 2).raw(5353)}
		until, stop := context.WithCancel(ctx)
		at(lan, 1).answer(t, until, kms)
		heard := e.within(10 * time.Minute)
		if len(heard) != 3+8 {
			t.Fatalf("%d messages in 10 minutes, want three probes and eight announcements", len(heard))
		}

		for i, m := range heard[:3] {
			if m.Response || len(m.Questions) != 2 || len(m.Authorities) != 3 {
				t.Errorf("probe %d = %+v, want two names asked for and three records proposed", i, m)
			}
		}

		want := `kms.local 120 flush {Addr:192.0.2.5}
_latchkey._tcp.local 4500 {Target:kms._latchkey._tcp.local}
kms._latchkey._tcp.local 120 flush {Priority:0 Weight:0 Port:8443 Target:kms.local}
kms._latchkey._tcp.local 4500 flush {Text:` + "\x03v=1" + `}
_services._dns-sd._udp.local 4500 {Target:_latchkey._tcp.local}
`
		for i, m := range heard[3:] {
			if got := show(m.Answers); got != want || !m.Response || !m.Authoritative {
				t.Errorf("announcement %d:\n%swant\n%s", i, got, want)
			}
		}

		stop()
		bye := e.within(time.Second)
		if len(bye) != 1 || len(bye[0].Answers) != 4 || slices.ContainsFunc(bye[0].Answers, func(r dns.Record) bool { return r.TTL != 0 }) {
			t.Errorf("at the end %+v, want one goodbye for four records", bye)
		}
	})
}

// Each row is one query to a settled responder.
func TestReplies(t *testing.T) {
	ask := func(name dns.Name, kind dns.Type, unicast bool) dns.Message {
		return dns.Message{Questions: []dns.Question{{Name: name, Type: kind, Unicast: unicast}}}
	}
	knowing := func(m dns.Message, r ...dns.Record) dns.Message { m.Answers = r; return m }
	host := "kms.local 120 flush {Addr:192.0.2.5}\n"
	ptr := "_latchkey._tcp.local 4500 {Target:kms._latchkey._tcp.local}\n"
	nsec := "kms.local 120 flush {Next:kms.local Types:\x00\x01\x40}\n"
	known := record("_latchkey._tcp.local", dns.PTR{Target: "kms._latchkey._tcp.local"})
	for _, row := range []struct {
		name       string
		query      dns.Message
		answers    string
		additional int
		toGroup    bool
		soon       bool // within 10 ms, not after the pause for shared records
	}{
		{"A for everybody", ask("kms.local", dns.TypeA, false), host, 1, true, true},
		{"A for the asker", ask("kms.local", dns.TypeA, true), host, 1, false, true},
		{"in another case", ask("KMS.LOCAL", dns.TypeA, true), host, 1, false, true},
		{"AAAA that is not there", ask("kms.local", dns.TypeAAAA, true), nsec, 0, false, true},
		{"any", ask("kms.local", dns.TypeANY, true), host, 1, false, true},
		{"service", ask("_latchkey._tcp.local", dns.TypePTR, true), ptr, 4, false, false},
		{"service for everybody", ask("_latchkey._tcp.local", dns.TypePTR, false), ptr, 4, true, false},
		{"service, known", knowing(ask("_latchkey._tcp.local", dns.TypePTR, true), dns.Record{Name: known.Name, Class: 1, TTL: 2250, Data: known.Data}), "", 0, false, false},
		{"service, known too long ago", knowing(ask("_latchkey._tcp.local", dns.TypePTR, true), dns.Record{Name: known.Name, Class: 1, TTL: 2249, Data: known.Data}), ptr, 4, false, false},
		{"host, known", knowing(ask("kms.local", dns.TypeA, true), a("kms.local", "192.0.2.5")), "", 0, false, true},
		{"SRV", ask("kms._latchkey._tcp.local", dns.TypeSRV, true), "kms._latchkey._tcp.local 120 flush {Priority:0 Weight:0 Port:8443 Target:kms.local}\n", 2, false, true},
		{"type list", ask("_services._dns-sd._udp.local", dns.TypePTR, true), "_services._dns-sd._udp.local 4500 {Target:_latchkey._tcp.local}\n", 0, false, false},
		{"another name", ask("other.local", dns.TypeA, true), "", 0, false, true},
		{"another class", dns.Message{Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeA, Class: 3}}}, "", 0, false, true},
		{"another opcode", dns.Message{Opcode: 4, Questions: ask("kms.local", dns.TypeA, true).Questions}, "", 0, false, true},
		{"an answer", dns.Message{Response: true, Questions: ask("kms.local", dns.TypeA, true).Questions}, "", 0, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
				at(lan, 1).answer(t, ctx, kms)
				settled()
				asker, other := ear{t, at(lan, 2).raw(5353)}, ear{t, at(lan, 3).raw(5353)}
				asker.conn.WriteTo(pack(t, row.query), &group)
				wait := 10 * time.Millisecond
				if !row.soon {
					if early := asker.within(20 * time.Millisecond); len(early) > 1 { // the query itself is heard
						t.Errorf("answered within 20 ms, want a pause for a shared record")
					}
					wait = 200 * time.Millisecond
				}

				heard := slices.DeleteFunc(asker.within(wait), func(m *dns.Message) bool { return !m.Response || len(m.Questions) > 0 })
				elsewhere := slices.DeleteFunc(other.within(time.Millisecond), func(m *dns.Message) bool { return !m.Response || len(m.Questions) > 0 })
				if row.answers == "" {
					if len(heard) > 0 {
						t.Errorf("answered %s, want silence", show(heard[0].Answers))
					}
					return
				}

				if len(heard) != 1 {
					t.Fatalf("%d answers, want 1", len(heard))
				}
				if got := show(heard[0].Answers); got != row.answers {
					t.Errorf("answers\n%swant\n%s", got, row.answers)
				}

				if n := len(heard[0].Additionals); n != row.additional {
					t.Errorf("%d additional records, want %d:\n%s", n, row.additional, show(heard[0].Additionals))
				}
				if toGroup := len(elsewhere) > 0; toGroup != row.toGroup {
					t.Errorf("sent to everybody: %v, want %v", toGroup, row.toGroup)
				}
			})
		})
	}
}

// A question for a unicast answer is answered to everybody, too, if the
// record has not been for a quarter of its time to live.
func TestUnicastKeepsCachesFresh(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		at(lan, 1).answer(t, ctx, kms)
		time.Sleep(5 * time.Minute) // the last announcement is two minutes after the first
		asker, other := ear{t, at(lan, 2).raw(5353)}, ear{t, at(lan, 3).raw(5353)}
		query := pack(t, dns.Message{Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeA, Unicast: true}}})
		ask := func() (direct, everybody int) {
			asker.conn.WriteTo(query, &group)
			responses := func(e ear) int {
				return len(slices.DeleteFunc(e.within(200*time.Millisecond), func(m *dns.Message) bool { return !m.Response }))
			}
			all := responses(asker)
			everybody = responses(other)
			return all - everybody, everybody
		}
		for _, row := range []struct {
			after             time.Duration
			direct, everybody int
		}{{0, 1, 1}, {0, 1, 0}, {29 * time.Second, 1, 0}, {time.Second, 1, 1}} {
			time.Sleep(row.after)
			if direct, everybody := ask(); direct != row.direct || everybody != row.everybody {
				t.Errorf("%s later: %d answers to the asker and %d to everybody, want %d and %d", row.after, direct, everybody, row.direct, row.everybody)
			}
		}
	})
}

func TestNotTwiceASecond(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		at(lan, 1).answer(t, ctx, kms)
		settled()
		asker := ear{t, at(lan, 2).raw(5353)}
		query := pack(t, dns.Message{Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeA}}})
		sent := lan.Sent()
		for range 10 {
			asker.conn.WriteTo(query, &group)
			time.Sleep(50 * time.Millisecond)
		}
		if n := lan.Sent() - sent - 10; n != 1 {
			t.Errorf("%d answers to ten questions in half a second, want 1", n)
		}
	})
}

// The query that Kairos' node sends, as recorded, and the answer in the
// order in which its client needs it.
func TestKairos(t *testing.T) {
	file, err := os.ReadFile("testdata/kairos-mdns.txt")
	if err != nil {
		t.Fatal(err)
	}

	fields := strings.Fields(strings.SplitN(string(file), "\n", 2)[0])
	query, err := hex.DecodeString(fields[len(fields)-1])
	if err != nil {
		t.Fatal(err)
	}

	bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) {
		at(lan, 1).answer(t, ctx, discover.Announcement{
			Host: "mychallenger.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 30000, Services: []string{"_kcrypt._tcp"},
		})
		settled()
		asker := ear{t, at(lan, 2).raw(58001)}
		asker.conn.WriteTo(query, &group)
		heard := asker.within(time.Second)
		if len(heard) != 1 {
			t.Fatalf("%d answers within a second, want 1", len(heard))
		}

		want := `_kcrypt._tcp.local 10 {Target:mychallenger._kcrypt._tcp.local}
mychallenger._kcrypt._tcp.local 10 {Priority:0 Weight:0 Port:30000 Target:mychallenger.local}
mychallenger.local 10 {Addr:192.0.2.5}
mychallenger._kcrypt._tcp.local 10 {Text:` + "\x00" + `}
`

		m := heard[0]
		if got := show(m.Answers); got != want || len(m.Additionals)+len(m.Authorities) > 0 {
			t.Errorf("answers\n%swant\n%s", got, want)
		}
		if m.ID != 0x6ca1 || len(m.Questions) != 1 || m.Questions[0].Name != "_kcrypt._tcp.local" {
			t.Errorf("id %#x and question %v, want those of the query", m.ID, m.Questions)
		}
	})
}
