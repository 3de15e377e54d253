package discover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"latchkey/discover/dns"
)

// A speaker answers on one link in one IP version.
type speaker struct {
	r    *Responder
	link Interface
	v6   bool
	conn net.PacketConn
	zone zone
	// later are answers that wait for their time, by when they are due.
	later []later
}

// later is a packet to be sent.
type later struct {
	at      time.Time
	message *dns.Message
	to      net.Addr
}

// maxLater caps the answers that wait.
const maxLater = 64

// goodbyeTime is how long the last packets may take.
const goodbyeTime = 500 * time.Millisecond

func (r *Responder) speak(ctx context.Context, l Interface, v6 bool) error {
	conn, err := r.sockets.Multicast(l, v6)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	r.mu.Lock()
	s := &speaker{r: r, link: l, v6: v6, conn: conn, zone: newZone(r.all, l)}
	r.mu.Unlock()
	if err := s.announce(0); err != nil {
		return err
	}
	defer s.goodbye()
	s.schedule(time.Now().Add(time.Second), s.zone.message(s.zone.records), groupAddr(v6))
	packet := make([]byte, dns.MaxMessage+1)
	for ctx.Err() == nil {
		if err := conn.SetReadDeadline(s.due()); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		n, from, err := conn.ReadFrom(packet)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("hearing mDNS on %s: %w", l.Name, err)
		}
		if addr, ok := from.(*net.UDPAddr); ok && err == nil {
			s.hear(packet[:n], addr)
		}
		s.flush()
	}
	return ctx.Err()
}

// announce sends all records to everybody. With ttl it is an announcement
// (RFC 6762, section 8.3), without a goodbye (section 10.1).
func (s *speaker) announce(goodbye int) error {
	m := s.zone.message(s.zone.records)
	if goodbye != 0 {
		for i := range m.Answers {
			m.Answers[i].TTL = 0
		}
	}
	return s.send(m, groupAddr(s.v6))
}

func (s *speaker) goodbye() {
	s.conn.SetWriteDeadline(time.Now().Add(goodbyeTime))
	if err := s.announce(1); err != nil {
		s.r.log.Debug("saying goodbye", "link", s.link.Name, "error", err)
	}
}

func (s *speaker) send(m *dns.Message, to net.Addr) error {
	packet, err := m.Pack()
	if err != nil {
		return err
	}
	if _, err := s.conn.WriteTo(packet, to); err != nil {
		return fmt.Errorf("answering on %s: %w", s.link.Name, err)
	}
	return nil
}

// hear answers a query.
func (s *speaker) hear(packet []byte, from *net.UDPAddr) {
	addr := from.AddrPort().Addr().WithZone("").Unmap()
	from = &net.UDPAddr{IP: from.IP, Port: from.Port} // without its zone: groupAddr says why
	if !s.link.onLink(addr) {
		return
	}
	m, err := dns.Parse(packet)
	if err != nil || m.Response || m.Opcode != 0 {
		return
	}
	if from.Port != mdnsPort {
		all := s.zone.reply(m, func(dns.Question) bool { return true })
		s.answer(all.unique, nil, func(a []owned) *dns.Message { return s.zone.legacy(m, a) }, from)
		s.answer(nil, all.shared, func(a []owned) *dns.Message { return s.zone.legacy(m, a) }, from)
		return
	}
	unicast := s.zone.reply(m, func(q dns.Question) bool { return q.Unicast && !s.own(addr) })
	multicast := s.zone.reply(m, func(q dns.Question) bool { return !q.Unicast || s.own(addr) })
	s.answer(unicast.unique, unicast.shared, s.zone.message, from)
	s.answer(multicast.unique, multicast.shared, s.zone.message, groupAddr(s.v6))
}

// own tells whether the asker is on this machine: a unicast answer to it
// would take the loopback, and not reach a socket that is bound to the link.
func (s *speaker) own(a netip.Addr) bool {
	for _, p := range s.link.Addrs {
		if p.Addr().WithZone("") == a {
			return true
		}
	}
	return false
}

// answer sends unique records at once and shared ones after the pause of
// RFC 6762, section 6, in which others may be answering.
func (s *speaker) answer(unique, shared []owned, message func([]owned) *dns.Message, to net.Addr) {
	if len(unique) > 0 {
		s.schedule(time.Now(), message(unique), to)
	}
	if len(shared) > 0 {
		pause := 20*time.Millisecond + rand.N(100*time.Millisecond)
		s.schedule(time.Now().Add(pause), message(shared), to)
	}
}

func (s *speaker) schedule(at time.Time, m *dns.Message, to net.Addr) {
	if len(s.later) < maxLater {
		s.later = append(s.later, later{at, m, to})
	}
}

// due is when the next packet is to be sent; zero is never.
func (s *speaker) due() time.Time {
	var next time.Time
	for _, l := range s.later {
		if next.IsZero() || l.at.Before(next) {
			next = l.at
		}
	}
	return next
}

// flush sends what is due.
func (s *speaker) flush() {
	now := time.Now()
	rest := s.later[:0]
	for _, l := range s.later {
		if l.at.After(now) {
			rest = append(rest, l)
			continue
		}
		if err := s.send(l.message, l.to); err != nil {
			s.r.log.Debug("answering", "link", s.link.Name, "error", err)
		}
	}
	s.later = rest
}
