package discover

import (
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/discover/dns"
)

// A sink is a connection that checks what is sent into it.
type sink struct {
	net.PacketConn
	t     testing.TB
	limit int
	sent  int
}

func (s *sink) WriteTo(b []byte, _ net.Addr) (int, error) {
	s.sent++
	m, err := dns.Parse(b)
	if err != nil {
		s.t.Errorf("sent %x: %v", b, err)
	} else if len(b) > s.limit && len(m.Answers)+len(m.Questions) > 1 {
		s.t.Errorf("sent %d bytes, the limit is %d", len(b), s.limit)
	}
	return len(b), nil
}

func (s *sink) SetWriteDeadline(time.Time) error { return nil }

var (
	testLink = Interface{Index: 1, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}
	stranger = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 66).To4(), Port: mdnsPort}
	quiet    = slog.New(slog.DiscardHandler)
)

// packetSeeds are packets that reach far into both sides.
func packetSeeds(f *testing.F) {
	a := dns.Record{Name: "kms.local", Class: 1, TTL: 120, Data: dns.A{Addr: netip.MustParseAddr("192.0.2.5")}}
	other := a
	other.Data = dns.A{Addr: netip.MustParseAddr("192.0.2.6")}
	ptr := dns.Record{Name: "_latchkey._tcp.local", Class: 1, TTL: 4500, Data: dns.PTR{Target: "kms._latchkey._tcp.local"}}
	srv := dns.Record{Name: "kms._latchkey._tcp.local", Class: 1, TTL: 120, Data: dns.SRV{Port: 8443, Target: "kms.local"}}
	gone := ptr
	gone.TTL = 0
	for _, m := range []dns.Message{
		{Response: true, Answers: []dns.Record{a, ptr, srv}},
		{Response: true, Answers: []dns.Record{other, gone}},
		{Response: true, Answers: []dns.Record{srv}, Additionals: []dns.Record{other}},
		{Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeANY}}, Authorities: []dns.Record{other, srv}},
		{Questions: []dns.Question{{Name: "_latchkey._tcp.local", Type: dns.TypePTR, Unicast: true}, {Name: "kms.local", Type: dns.TypeAAAA}}, Answers: []dns.Record{ptr}},
		{Truncated: true, Questions: []dns.Question{{Name: "_services._dns-sd._udp.local", Type: dns.TypePTR}}},
		{ID: 7, Recurse: true, Questions: []dns.Question{{Name: "kms.local", Type: dns.TypeA}}},
	} {
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet, uint16(mdnsPort), false, false)
		f.Add(packet, uint16(40000), true, true)
	}
}

// FuzzBrowser gives two packets to the finder's side of a link: what it
// offers must be the address of a host, and what it keeps is bounded.
func FuzzBrowser(f *testing.F) {
	packetSeeds(f)
	f.Fuzz(func(t *testing.T, packet []byte, port uint16, direct, off bool) {
		finder, err := NewFinder(Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp"}}, System{}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		out := &sink{t: t, limit: testLink.payload(false)}
		b := newBrowser(finder, testLink, false, out)
		b.direct = off
		from := &net.UDPAddr{IP: stranger.IP, Port: int(port)}
		if off {
			from.IP = net.IPv4(198, 51, 100, 66).To4()
		}

		now := time.Now()
		for range 2 {
			b.hear(heard{packet, from, direct})
			if next, err := b.tick(now); err != nil || next.Before(now) {
				t.Errorf("tick() = %s before now, %v", now.Sub(next), err)
			}
			now = now.Add(2 * time.Second)
		}
		if out.sent > 2*(2+maxInstances) || len(b.leaving) > maxLeaving || len(b.cache.addresses) > maxAddresses || len(b.cache.instances) > 3*maxInstances {
			t.Errorf("%d packets sent, %d leaving, %d addresses, %d instances", out.sent, len(b.leaving), len(b.cache.addresses), len(b.cache.instances))
		}
		for c, _, _ := finder.pool.take(); c != nil; c, _, _ = finder.pool.take() {
			if !isHost(c.Addr.Addr()) || c.Addr.Port() == 0 {
				t.Errorf("offered %v, want a host", c)
			}
		}
	})
}

// FuzzSpeaker gives two packets to the responder's side of a link, while it
// probes and when its names are its own.
func FuzzSpeaker(f *testing.F) {
	packetSeeds(f)
	all := []Announcement{{Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 8443, Services: []string{"_latchkey._tcp"}, Text: []string{"v=1"}}}
	f.Fuzz(func(t *testing.T, packet []byte, port uint16, sure, off bool) {
		r, err := NewResponder(all, System{}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		r.Update([]Interface{testLink})
		out := &sink{t: t, limit: testLink.payload(false)}
		s := newSpeaker(r, testLink, false, out)
		s.probeAt = time.Now() // without chance there is less for the engine to minimize
		from := &net.UDPAddr{IP: stranger.IP, Port: int(port)}
		if off {
			from.IP = net.IPv4(198, 51, 100, 66).To4()
		}

		now := time.Now()
		step := func(d time.Duration) {
			now = now.Add(d)
			if next := s.tick(now); next.Before(now) {
				t.Errorf("tick() = %s before now", now.Sub(next))
			}
		}
		if sure {
			s.probes = probes // all have been sent
			step(0)
		}
		for range 2 {
			s.hear(heard{packet, from, false}, now)
			step(0)
			step(600 * time.Millisecond)
		}
		s.update(testLink, now)
		step(time.Second)
		if out.sent > 200 || len(s.replies) > maxReplies || len(s.pending) > maxPending {
			t.Errorf("%d packets sent, %d replies wait, %d queries", out.sent, len(s.replies), len(s.pending))
		}
		if sure && r.Announcements()[0].Host != "kms.local" {
			t.Errorf("one packet took the name: it is %s", r.Announcements()[0].Host)
		}
		if r.names.reclaim != nil {
			r.names.reclaim.Stop()
		}
	})
}

// FuzzSpeakerHears gives one packet to a responder whose names are its own:
// FuzzSpeaker without what is made anew for each, so that it is an order of
// magnitude faster and reaches the code behind hear.
func FuzzSpeakerHears(f *testing.F) {
	packetSeeds(f)
	all := []Announcement{{Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 8443, Services: []string{"_latchkey._tcp"}, Text: []string{"v=1"}}}
	r, err := NewResponder(all, System{}, quiet)
	if err != nil {
		f.Fatal(err)
	}
	r.Update([]Interface{testLink})
	start := time.Now()
	ready := newSpeaker(r, testLink, false, &sink{limit: testLink.payload(false)})
	ready.probeAt, ready.probes = start, probes
	ready.tick(start)
	ready.announced, ready.newsAt = announcements, time.Time{}

	f.Fuzz(func(t *testing.T, packet []byte, port uint16, direct, off bool) {
		s := *ready
		out := &sink{t: t, limit: testLink.payload(false)}
		s.conn, s.sure, s.sent = out, maps.Clone(ready.sure), map[cacheKey]time.Time{}
		s.due, s.pending, s.replies = newDues(), map[netip.AddrPort]*partial{}, nil
		from := &net.UDPAddr{IP: stranger.IP, Port: int(port)}
		if off {
			from.IP = net.IPv4(198, 51, 100, 66).To4()
		}

		s.hear(heard{packet, from, direct}, start)
		if next := s.tick(start.Add(600 * time.Millisecond)); next.Before(start) {
			t.Errorf("tick() = %s before now", start.Sub(next))
		}
		if out.sent > 100 || len(s.replies) > maxReplies || len(s.pending) > maxPending {
			t.Errorf("%d packets sent, %d replies wait, %d queries", out.sent, len(s.replies), len(s.pending))
		}
		if r.Announcements()[0].Host != "kms.local" {
			t.Fatalf("one packet took the name: it is %s", r.Announcements()[0].Host)
		}
	})
}

// FuzzURL reads URLs of a plan and of the command line.
func FuzzURL(f *testing.F) {
	for _, u := range []string{"http://kms.local", "http://192.0.2.5:7741/", "http://KMS.local.:80", "http://[::ffff:192.0.2.5]"} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, u string) {
		got, err := parseURL(u)
		if err != nil {
			return
		}
		if got.addr.IsValid() && !isHost(got.addr) && !got.addr.IsLoopback() || !got.addr.IsValid() && !isHostName(got.host) {
			t.Errorf("parseURL(%q) = %+v, want a host", u, got)
		}
	})
}

// FuzzHost makes the next names of any name.
func FuzzHost(f *testing.F) {
	f.Add("kms.local", "kms")
	f.Add("kms-9999.local", "kms (9999)")
	f.Add("-2.local", " (2)")
	f.Fuzz(func(t *testing.T, host, instance string) {
		if (Announcement{Host: host, Instance: instance}).check() != nil {
			return
		}
		next, nextLabel := nextHost(strings.ToLower(strings.TrimSuffix(host, "."))), nextInstance(instance)
		if err := (Announcement{Host: next, Instance: nextLabel}).check(); err != nil {
			t.Errorf("the name after %q and %q is %q and %q: %v", host, instance, next, nextLabel, err)
		}
	})
}

// FuzzResolvConf reads any resolv.conf(5).
func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.53\nsearch example.com\n")
	f.Fuzz(func(t *testing.T, text string) {
		i := readResolvConf(strings.NewReader(text))
		if i.Index != 0 || len(i.Addrs) > 0 {
			t.Errorf("readResolvConf(%q) = %+v, want no link", text, i)
		}
	})
}

// A storm of packets from everywhere costs the responder bounded memory and
// time, and it answers afterwards.
func TestStormOfPackets(t *testing.T) {
	r, err := NewResponder([]Announcement{{Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 1, Services: []string{"_latchkey._tcp"}}}, System{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	out := &sink{t: t, limit: testLink.payload(false)}
	s := newSpeaker(r, testLink, false, out)
	now := time.Now()
	for range 8 {
		now = now.Add(250 * time.Millisecond)
		s.tick(now)
	}

	question := dns.Message{Questions: []dns.Question{{Name: "_latchkey._tcp.local", Type: dns.TypePTR}}}
	truncated := question
	truncated.Truncated = true
	out.sent = 0
	for range 20000 {
		m := []dns.Message{question, truncated}[rand.N(2)]
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		from := &net.UDPAddr{IP: net.IPv4(192, 0, 2, byte(rand.N(250))).To4(), Port: mdnsPort}
		s.hear(heard{packet, from, false}, now)
		now = now.Add(time.Millisecond)
		s.tick(now)
	}
	if len(s.pending) > maxPending || len(s.replies) > maxReplies || out.sent > 45 {
		t.Errorf("%d pending, %d replies, %d packets in 20 s of questions, want one answer a second", len(s.pending), len(s.replies), out.sent)
	}
}
