package discover

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/discover/dns"
)

// Limits of what one speaker keeps in mind.
const (
	maxLater   = 64
	maxPending = 16
)

// goodbyeTime is how long the last packet may take.
const goodbyeTime = 500 * time.Millisecond

// A speaker answers on one link in one IP version. Only its own goroutine
// touches it.
type speaker struct {
	r       *Responder
	link    Interface
	v6      bool
	conn    net.PacketConn
	zone    zone
	sure    bool // the names are ours: probing is over
	later   []later
	sent    map[cacheKey]time.Time          // when a record was last multicast
	pending map[netip.AddrPort]*dns.Message // queries of which more packets come
}

// later is something to do, unless it is called off.
type later struct {
	at      time.Time
	do      func()
	answers []owned // what it sends to everybody, if it can be called off
}

// heard is one packet.
type heard struct {
	data []byte
	from *net.UDPAddr
}

// speak answers until ctx ends. Updates bring the link's new addresses.
func (r *Responder) speak(ctx context.Context, l Interface, v6 bool, updates <-chan Interface) error {
	conn, err := r.sockets.Group(l, v6)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &speaker{
		r: r, link: l, v6: v6, conn: conn, zone: r.zone(l),
		sent: map[cacheKey]time.Time{}, pending: map[netip.AddrPort]*dns.Message{},
	}

	packets := make(chan heard)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go receive(ctx, conn, packets, failed)
	s.probe(0)
	timer := time.NewTimer(0)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			s.goodbye(s.zone.records)
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("hearing mDNS on %s: %w", l.Name, err)
		case p := <-packets:
			s.hear(p)
		case l := <-updates:
			s.update(l)
		case <-timer.C:
		}
		timer.Reset(s.flush())
	}
}

// receive hands on packets until the connection is closed.
func receive(ctx context.Context, conn net.PacketConn, packets chan<- heard, failed chan<- error) {
	buf := make([]byte, dns.MaxMessage+1)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			failed <- err
			return
		}

		addr, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}

		select {
		case packets <- heard{slices.Clone(buf[:n]), addr}:
		case <-ctx.Done():
			return
		}
	}
}

// schedule does something after d. When too much waits, it is not done:
// the asker asks again.
func (s *speaker) schedule(d time.Duration, do func(), answers ...owned) {
	if len(s.later) < maxLater {
		s.later = append(s.later, later{time.Now().Add(d), do, answers})
	}
}

// flush does what is due, and returns how long nothing else is.
func (s *speaker) flush() time.Duration {
	for {
		i := slices.IndexFunc(s.later, func(l later) bool { return !l.at.After(time.Now()) })
		if i < 0 {
			break
		}
		do := s.later[i].do
		s.later = slices.Delete(s.later, i, i+1)
		do()
	}
	wait := time.Hour
	for _, l := range s.later {
		wait = min(wait, time.Until(l.at))
	}
	return max(wait, 0)
}

// send sends a message, to everybody if to is nil.
func (s *speaker) send(m *dns.Message, to net.Addr) {
	if to == nil {
		to = groupAddr(s.v6)
	}
	if m.Response {
		s.r.answers.Add(1)
	}
	packet, err := m.Pack()
	if err == nil {
		_, err = s.conn.WriteTo(packet, to)
	}
	if err != nil {
		s.r.log.Debug("sending mDNS", "link", s.link.Name, "error", err)
	}
}

// multicast sends records to everybody, but none a second time within a
// second: RFC 6762, section 6.
func (s *speaker) multicast(answers []owned, again time.Duration) {
	now := time.Now()
	answers = slices.DeleteFunc(slices.Clone(answers), func(r owned) bool {
		return now.Sub(s.sent[r.cacheKey()]) < again
	})
	if len(answers) == 0 {
		return
	}
	for _, r := range answers {
		s.sent[r.cacheKey()] = now
	}
	s.send(s.zone.message(answers), nil)
}

func (r owned) cacheKey() cacheKey { return cacheKey{r.Name.Key(), r.Data} }

// update follows a change of the link's addresses or of what is
// announced: what is no longer true is taken back, what is new announced.
// Names that are new are probed for first.
func (s *speaker) update(l Interface) {
	s.link = l
	before := s.zone
	s.zone = s.r.zone(l)
	if !s.sure {
		return // announced after probing anyway
	}

	gone := slices.DeleteFunc(slices.Clone(before.records), s.zone.has)
	fresh := slices.DeleteFunc(slices.Clone(s.zone.records), before.has)
	s.goodbye(gone)
	switch {
	case slices.ContainsFunc(s.zone.names(), func(n dns.Name) bool { return !before.unique(n) }):
		s.sure = false
		s.later = nil
		s.probe(0)
	case len(fresh) > 0:
		s.announce(0)
	}
}

// announcements are sent twice, a second apart: RFC 6762, section 8.3.
const announcements = 2

func (s *speaker) announce(n int) {
	s.multicast(s.zone.records, 0)
	if n+1 < announcements {
		s.schedule(time.Second, func() { s.announce(n + 1) })
	}
}

// goodbye takes records back: RFC 6762, section 10.1. Without the flush
// bit, so that another machine's records of the name stay. What was never
// announced is not taken back.
func (s *speaker) goodbye(records []owned) {
	if !s.sure || len(records) == 0 {
		return
	}
	m := &dns.Message{Response: true, Authoritative: true}
	for _, r := range records {
		if r.Name == serviceTypes {
			continue // others may have the type, too
		}
		r.TTL = 0
		m.Answers = append(m.Answers, r.Record)
	}
	s.conn.SetWriteDeadline(time.Now().Add(goodbyeTime))
	s.send(m, nil)
	s.conn.SetWriteDeadline(time.Time{})
}

// pauseShared is the random pause before an answer that others may give
// too: RFC 6762, section 6.
func pauseShared() time.Duration { return 20*time.Millisecond + rand.N(100*time.Millisecond) }
