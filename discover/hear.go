package discover

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/discover/dns"
)

// Limits of what one speaker keeps in mind of others.
const (
	maxReplies = 64
	maxPending = 16
)

// partial is a query of which more packets may come.
type partial struct {
	m  *dns.Message
	at time.Time // until then
}

// later is an answer to one machine that waits for its time.
type later struct {
	at      time.Time
	to      *net.UDPAddr
	answers []owned
	legacy  *dns.Message // the query of a simple resolver
}

// hear takes one packet. It was sent to the group, so it comes from this
// link, whatever its source address says: RFC 6762, section 11. Packets of
// other programs on this machine count as any.
func (s *speaker) hear(p heard, now time.Time) {
	from := p.from.AddrPort()
	addr := from.Addr().WithZone("").Unmap()
	if s.r.said.has(p.data) && s.r.owns(addr) {
		return
	}
	m, err := dns.Parse(p.data)
	if err != nil || m.Opcode != 0 || m.RCode != 0 {
		return
	}

	if m.Response {
		if from.Port() == mdnsPort {
			s.judge(m, now)
		}
		return
	}

	s.r.queries.Add(1)
	if len(m.Authorities) > 0 {
		s.contest(m, now)
	}
	s.query(m, netip.AddrPortFrom(addr, from.Port()), now)
}

// query answers, or waits for the rest of a query whose known answers did
// not fit into one packet: RFC 6762, section 7.2.
func (s *speaker) query(m *dns.Message, from netip.AddrPort, now time.Time) {
	if first := s.pending[from]; first != nil {
		if len(first.m.Answers)+len(m.Answers) <= 4*maxInstances {
			first.m.Answers = append(first.m.Answers, m.Answers...)
		}
		if len(m.Questions) == 0 {
			return
		}
	}

	if !m.Truncated || len(s.pending) >= maxPending {
		s.answer(m, from, now)
		return
	}
	s.pending[from] = &partial{m, now.Add(400*time.Millisecond + pauseShared())}
}

// answer answers a query: unique records at once, shared ones after a
// pause in which others may be answering.
func (s *speaker) answer(m *dns.Message, from netip.AddrPort, now time.Time) {
	// The socket is bound to the link, so no zone is needed.
	to := &net.UDPAddr{IP: from.Addr().AsSlice(), Port: int(from.Port())}
	if from.Port() != mdnsPort {
		r := s.live.reply(m, func(dns.Question) bool { return true })
		r.unique = slices.DeleteFunc(r.unique, func(o owned) bool { return o.Data.Type() == dns.TypeNSEC })
		if len(r.unique)+len(r.shared) > 0 && s.mayAlone(from.Addr(), now) {
			s.replyTo(r, to, m, now)
		}
		return
	}

	// Everybody is answered instead of the asker if it could not hear it: a
	// unicast answer to this machine would take the loopback, and not reach a
	// socket that is bound to the link; one to another network than the
	// link's would have to be dropped (section 11).
	public := s.r.owns(from.Addr()) || !s.link.onLink(from.Addr())
	direct := s.live.reply(m, func(q dns.Question) bool { return q.Unicast && !public })
	if len(direct.unique)+len(direct.shared) > 0 && !s.mayAlone(from.Addr(), now) {
		public, direct = true, reply{} // too many from one address
	}
	s.replyTo(direct, to, nil, now)
	s.multicast(s.stale(direct.unique, now), time.Second, now)
	for _, r := range s.stale(direct.shared, now) {
		s.due.add(r.key(), due{again: time.Second}, now)
	}

	// A probe must hear of us in time: section 6, the exception.
	all := s.live.reply(m, func(q dns.Question) bool { return !q.Unicast || public })
	again := time.Second
	if len(m.Authorities) > 0 {
		again = probeInterval
	}
	s.multicast(all.unique, again, now)
	for _, r := range all.shared {
		s.due.add(r.key(), due{again: again}, now)
	}
}

// mayAlone tells whether an address may be answered alone once more.
func (s *speaker) mayAlone(a netip.Addr, now time.Time) bool {
	ok := s.alone.take(a, now)
	if !ok {
		s.r.limited.Add(1)
	}
	return ok
}

// replyTo answers one machine. When too many answers wait, one more does
// not.
func (s *speaker) replyTo(r reply, to *net.UDPAddr, legacy *dns.Message, now time.Time) {
	if len(r.unique) > 0 {
		s.reply(later{to: to, answers: r.unique, legacy: legacy})
	}
	if len(r.shared) == 0 {
		return
	}
	l := later{now.Add(pauseShared()), to, r.shared, legacy}
	if len(s.replies) >= maxReplies {
		s.reply(l)
		return
	}
	s.replies = append(s.replies, l)
}

// reply sends what is still true of an answer.
func (s *speaker) reply(l later) {
	answers := slices.DeleteFunc(slices.Clone(l.answers), func(r owned) bool {
		return r.Data.Type() != dns.TypeNSEC && !s.live.has(r)
	})
	switch {
	case len(answers) == 0:
	case l.legacy != nil:
		s.send(l.to, s.legacy(l.legacy, answers))
	default:
		s.send(l.to, s.messages(answers)...)
	}
}

// stale returns the records that nobody but the asker would hear of for too
// long: those not multicast within a quarter of their time to live. They
// are multicast beside the unicast answer, so that caches stay fresh and a
// conflict shows: RFC 6762, section 5.4, which would have them multicast
// only; on a LAN that loses multicast the asker needs its own copy. NSEC
// records are announced to nobody in the first place.
func (s *speaker) stale(answers []owned, now time.Time) []owned {
	return slices.DeleteFunc(slices.Clone(answers), func(r owned) bool {
		return r.Data.Type() == dns.TypeNSEC || now.Sub(s.sent[r.key()]) <= time.Duration(r.TTL)*time.Second/4
	})
}
