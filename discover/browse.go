package discover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"latchkey/discover/dns"
)

// Queries are sent at 0 s for unicast answers, then at 1, 2, 4 s and so
// on (RFC 6762, sections 5.2 and 5.4); a machine that waits for a KMS
// asks on, but not more often than lastInterval.
const (
	firstInterval = time.Second
	lastInterval  = 30 * time.Second
)

// jitter is d give or take a tenth.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }

// A browser asks by multicast on one link in one IP version.
type browser struct {
	f     *Finder
	link  Interface
	v6    bool
	conn  net.PacketConn
	cache *cache
	asked map[dns.Name]time.Time // follow-up questions, and when to repeat them
}

func (f *Finder) browse(ctx context.Context, l Interface, v6 bool) error {
	conn, err := f.sockets.Multicast(l, v6)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := &browser{f: f, link: l, v6: v6, conn: conn, cache: newCache(), asked: map[dns.Name]time.Time{}}
	if err := b.ask(b.questions(true)); err != nil {
		return err
	}

	for interval := firstInterval; ; interval = min(2*interval, lastInterval) {
		if err := b.listen(ctx, time.Now().Add(jitter(interval))); err != nil {
			return err
		}
		if err := b.ask(b.questions(false)); err != nil {
			return err
		}
	}
}

// questions asks for all that is wanted, in one packet.
func (b *browser) questions(unicast bool) []dns.Question {
	var qs []dns.Question
	for _, t := range b.f.targets {
		if t.local() {
			qs = append(qs, dns.Question{Name: dns.Name(t.host), Type: dns.TypeA, Unicast: unicast},
				dns.Question{Name: dns.Name(t.host), Type: dns.TypeAAAA, Unicast: unicast})
		}
	}
	for _, s := range b.f.services {
		qs = append(qs, dns.Question{Name: s, Type: dns.TypePTR, Unicast: unicast})
	}
	return qs
}

func (b *browser) ask(qs []dns.Question) error {
	if len(qs) == 0 {
		return nil
	}
	packet, err := (&dns.Message{Questions: qs}).Pack()
	if err != nil {
		return err
	}
	if _, err := b.conn.WriteTo(packet, groupAddr(b.v6)); err != nil {
		return fmt.Errorf("asking by mDNS on %s: %w", b.link.Name, err)
	}
	return nil
}

// listen takes answers until the time is over.
func (b *browser) listen(ctx context.Context, until time.Time) error {
	if err := b.conn.SetReadDeadline(until); err != nil {
		return err
	}
	packet := make([]byte, dns.MaxMessage+1)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, from, err := b.conn.ReadFrom(packet)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("hearing mDNS on %s: %w", b.link.Name, err)
		}

		if addr, ok := from.(*net.UDPAddr); ok {
			b.hear(packet[:n], addr.AddrPort())
		}
	}
}

// hear judges one packet: RFC 6762, sections 6, 11 and 18. An answer need
// not repeat the question or its id.
func (b *browser) hear(packet []byte, from netip.AddrPort) {
	if from.Port() != mdnsPort || !b.link.onLink(from.Addr()) {
		return
	}
	m, err := dns.Parse(packet)
	if err != nil || !m.Response || m.Opcode != 0 || m.RCode != 0 {
		return
	}

	news := map[dns.Name]bool{}
	for _, r := range slices.Concat(m.Answers, m.Authorities, m.Additionals) {
		if r.Class != dns.ClassIN || !b.wants(r) {
			continue
		}
		if r.TTL == 0 {
			b.cache.remove(r)
			b.goodbye(r)
			continue
		}

		b.cache.put(r)
		news[r.Name.Key()] = true
		if ptr, ok := r.Data.(dns.PTR); ok {
			news[ptr.Target.Key()] = true
		}
	}

	if len(news) > 0 {
		b.offer(news, from.Addr())
		b.followUp()
	}
}

// wants tells whether a record can lead to a key server.
func (b *browser) wants(r dns.Record) bool {
	switch d := r.Data.(type) {
	case dns.PTR:
		for _, s := range b.f.services {
			if r.Name.Equal(s) {
				return d.Target.HasSuffix(s)
			}
		}

	case dns.SRV, dns.TXT:
		return b.service(r.Name) != ""
	case dns.A:
		return isHost(d.Addr) || d.Addr.IsLoopback()
	case dns.AAAA:
		return isHost(d.Addr)
	}
	return false
}

// service returns the service that an instance belongs to, or "".
func (b *browser) service(instance dns.Name) dns.Name {
	_, parent := instance.Cut()
	for _, s := range b.f.services {
		if parent.Equal(s) {
			return s
		}
	}
	return ""
}
