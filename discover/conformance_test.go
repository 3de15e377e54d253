package discover_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/discover/dns"
	"latchkey/internal/testlan"
)

// A check is one rule of RFC 6762 or RFC 6763, by its section. Where we
// chose otherwise than the section would have it, says holds what we do, and
// begins with "chosen:"; docs/mdns.md has the reasons.
type check struct {
	section, says string
	run           func(c *conf)
}

// TestConformance runs the checks of the files conformance_*_test.go.
func TestConformance(t *testing.T) {
	all := slices.Concat(probeChecks, announceChecks, answerChecks, suppressChecks, legacyChecks, queryChecks, goodbyeChecks, packetChecks, serviceChecks, shareChecks)
	if len(all) < 75 {
		t.Errorf("%d checks, want at least 75", len(all))
	}
	for _, row := range all {
		t.Run(row.section+": "+row.says, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context, lan *testlan.LAN) { row.run(&conf{t, ctx, lan}) })
		})
	}
}

// A conf is a LAN for one check. The responder under test is 192.0.2.1, the
// finder 192.0.2.10; the other addresses are free.
type conf struct {
	*testing.T
	ctx context.Context
	lan *testlan.LAN
}

// start starts the responder.
func (c *conf) start(all ...discover.Announcement) *discover.Responder {
	return at(c.lan, 1).answer(c.T, c.ctx, all...)
}

// settled starts the responder and waits until it has announced itself for
// the last time.
func (c *conf) settled(all ...discover.Announcement) *discover.Responder {
	r := c.start(all...)
	time.Sleep(5 * time.Minute)
	return r
}

// find starts a finder for kms.local and _latchkey._tcp.
func (c *conf) find() *discover.Finder {
	return at(c.lan, 10).find(c.T, c.ctx, discover.Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp"}})
}

func (c *conf) ear(n byte) ear { return ear{c.T, at(c.lan, n).raw(5353)} }

// A packet is what an ear has heard.
type packet struct {
	after time.Duration // since it began to listen
	from  netip.AddrPort
	size  int
	*dns.Message
}

// packets returns what is heard until d from now.
func (e ear) packets(d time.Duration) []packet {
	e.t.Helper()
	start := time.Now()
	e.conn.SetReadDeadline(start.Add(d))
	var out []packet
	buf := make([]byte, 9001)
	for {
		n, from, err := e.conn.ReadFrom(buf)
		if err != nil {
			return out
		}
		m, err := dns.Parse(buf[:n])
		if err != nil {
			e.t.Fatalf("sent %x: %v", buf[:n], err)
		}
		addr := from.(*net.UDPAddr)
		out = append(out, packet{time.Since(start), netip.AddrPortFrom(netip.MustParseAddr(addr.IP.String()), uint16(addr.Port)), n, m})
	}
}

// untilQuery listens until the first question or probe, and 10 ms longer at
// most.
func (e ear) untilQuery() {
	e.t.Helper()
	for end := time.Now().Add(2 * time.Minute); len(queries(e.packets(10*time.Millisecond))) == 0; {
		if time.Now().After(end) {
			e.t.Fatal("no query in two minutes")
		}
	}
}

// ours are packets of the responder or finder under test.
func ours(list []packet) []packet {
	return slices.DeleteFunc(list, func(p packet) bool {
		a := p.from.Addr()
		return a != netip.MustParseAddr("192.0.2.1") && a != netip.MustParseAddr("192.0.2.10")
	})
}

// responses and queries part packets by kind.
func responses(list []packet) []packet {
	return slices.DeleteFunc(ours(slices.Clone(list)), func(p packet) bool { return !p.Response })
}

func queries(list []packet) []packet {
	return slices.DeleteFunc(ours(slices.Clone(list)), func(p packet) bool { return p.Response })
}

// say sends a message to everybody.
func (e ear) say(m dns.Message) { e.conn.WriteTo(pack(e.t, m), &group) }

// asks asks the responder, and returns its answers within d.
func (e ear) asks(d time.Duration, m dns.Message) []packet {
	e.say(m)
	return responses(e.packets(d))
}

// want fails unless a condition holds.
func (c *conf) want(ok bool, format string, args ...any) {
	c.Helper()
	if !ok {
		c.Errorf(format, args...)
	}
}

// one returns the only packet of a list.
func (c *conf) one(list []packet) packet {
	c.Helper()
	if len(list) != 1 {
		c.Fatalf("%d packets, want 1", len(list))
	}
	return list[0]
}

// has tells whether one of the records says something, as show writes it.
func has(records []dns.Record, text string) bool { return strings.Contains(show(records), text) }

// question is a question for everybody's ears; direct one for the asker's.
func question(name dns.Name, kind dns.Type) dns.Message {
	return dns.Message{Questions: []dns.Question{{Name: name, Type: kind}}}
}

func direct(name dns.Name, kind dns.Type) dns.Message {
	return dns.Message{Questions: []dns.Question{{Name: name, Type: kind, Unicast: true}}}
}

// with returns a record with another TTL; alone with the flush bit, as a
// machine says it that has the name alone.
func with(r dns.Record, ttl uint32) dns.Record { r.TTL = ttl; return r }
func alone(r dns.Record) dns.Record            { r.Flush = true; return r }

// The records of kms.
var (
	kmsA   = a("kms.local", "192.0.2.5")
	kmsPTR = with(record("_latchkey._tcp.local", dns.PTR{Target: "kms._latchkey._tcp.local"}), 4500)
	kmsSRV = record("kms._latchkey._tcp.local", dns.SRV{Port: 8443, Target: "kms.local"})
	kmsTXT = with(record("kms._latchkey._tcp.local", dns.Text("v=1")), 4500)
)
