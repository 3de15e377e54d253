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

// goodbyeTime is how long the last packet may take.
const goodbyeTime = 500 * time.Millisecond

// announcements are sent at 0, 1, 3, 7 s and so on. RFC 6762, section 8.3,
// wants two and allows eight: the last comes after two minutes, when the
// slowest switch has begun to forward (spanning tree takes 50 s).
const announcements = 8

// A speaker answers on one link in one IP version. Only its own goroutine
// touches it.
type speaker struct {
	r    *Responder
	link Interface
	v6   bool
	conn net.PacketConn

	zone zone              // all that is to be said
	sure map[dns.Name]bool // names (in lower case) that nobody else has
	live zone              // what may be said: zone.sayable(sure)

	probes    int       // sent so far
	probeAt   time.Time // the next one; zero: no name is in question
	announced int       // announcements so far
	newsAt    time.Time // the next one; zero: there is no news
	failing   bool      // to send; said once

	sent    map[cacheKey]time.Time // when a record was last multicast
	due     dues
	replies []later                     // to one machine each
	alone   unicasts                    // who was answered so
	pending map[netip.AddrPort]*partial // queries of which more packets come
}

func newSpeaker(r *Responder, l Interface, v6 bool, conn net.PacketConn) *speaker {
	s := &speaker{
		r: r, link: l, v6: v6, conn: conn, sure: map[dns.Name]bool{},
		sent: map[cacheKey]time.Time{}, due: newDues(), pending: map[netip.AddrPort]*partial{}, alone: unicasts{},
	}
	s.begin(time.Now())
	return s
}

// heard is one packet.
type heard struct {
	data   []byte
	from   *net.UDPAddr
	direct bool // it was sent to this machine, not to the group
}

// speak answers until ctx ends. Updates bring the link's new addresses.
func (r *Responder) speak(ctx context.Context, l Interface, v6 bool, updates <-chan Interface) error {
	conn, err := r.sockets.Group(l, v6)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := newSpeaker(r, l, v6, conn)

	packets := make(chan heard)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go receive(ctx, conn, false, packets, failed)
	timer := time.NewTimer(0)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			s.goodbye(s.live.records)
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("hearing mDNS on %s: %w", l.Name, err)
		case p := <-packets:
			s.hear(p, time.Now())
		case l := <-updates:
			s.update(l, time.Now())
		case <-timer.C:
		}
		timer.Reset(time.Until(s.tick(time.Now())))
	}
}

// receive hands on packets until the connection is closed.
func receive(ctx context.Context, conn net.PacketConn, direct bool, packets chan<- heard, failed chan<- error) {
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
		case packets <- heard{slices.Clone(buf[:n]), addr, direct}:
		case <-ctx.Done():
			return
		}
	}
}

// begin makes the zone and probes for what is not known to be ours.
func (s *speaker) begin(now time.Time) {
	s.zone = s.r.zone(s.link)
	s.live = s.zone.sayable(s.sure)
	if len(s.unsure()) == 0 {
		s.probeAt = time.Time{}
		s.announce(now)
		return
	}
	s.probes, s.probeAt = 0, now.Add(rand.N(probeInterval))
}

// update follows a change of the link or of what is announced: what is no
// longer true is taken back, what is new announced. Names that are new are
// probed for first; the others are answered for meanwhile. After the link
// or the machine was away all is as at the start: RFC 6762, section 8.
func (s *speaker) update(l Interface, now time.Time) {
	away := l.Epoch != s.link.Epoch
	before := s.live
	s.link = l
	if away {
		clear(s.sure)
		clear(s.sent)
		s.due, s.replies, s.pending = newDues(), nil, map[netip.AddrPort]*partial{}
		s.begin(now)
		return
	}

	zone := s.r.zone(l)
	names := zone.names()
	for name := range s.sure {
		if !slices.Contains(names, name) {
			delete(s.sure, name)
		}
	}
	s.goodbye(slices.DeleteFunc(slices.Clone(before.records), zone.has))

	s.zone, s.live = zone, zone.sayable(s.sure)
	switch unsure := s.unsure(); {
	case len(unsure) > 0 && slices.ContainsFunc(unsure, func(n dns.Name) bool { return !before.claims(n) }):
		s.begin(now)
	case slices.ContainsFunc(s.live.records, func(r owned) bool { return !before.has(r) }):
		s.announce(now)
	}
}

// announce begins to say everything, unasked.
func (s *speaker) announce(now time.Time) { s.announced, s.newsAt = 0, now }

// tick does what is due, and returns when to call it again.
func (s *speaker) tick(now time.Time) time.Time {
	if reached(s.probeAt, now) {
		s.probe(now)
	}
	if reached(s.newsAt, now) {
		s.sendNews(now)
	}

	for from, p := range s.pending {
		if reached(p.at, now) {
			delete(s.pending, from)
			s.answer(p.m, from, now)
		}
	}
	if reached(s.due.at, now) {
		s.sendDue(now)
	}
	s.replies = slices.DeleteFunc(s.replies, func(l later) bool {
		if reached(l.at, now) {
			s.reply(l)
		}
		return reached(l.at, now)
	})

	next := now.Add(time.Hour)
	for _, at := range []time.Time{s.probeAt, s.newsAt, s.due.at} {
		next = sooner(next, at)
	}
	for _, p := range s.pending {
		next = sooner(next, p.at)
	}
	for _, l := range s.replies {
		next = sooner(next, l.at)
	}
	return next
}

// reached tells whether a time has come; the zero time never does.
func reached(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

func sooner(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// pauseShared is the random pause before an answer that others may give
// too: RFC 6762, section 6.
func pauseShared() time.Duration { return 20*time.Millisecond + rand.N(100*time.Millisecond) }
