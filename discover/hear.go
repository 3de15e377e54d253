package discover

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/discover/dns"
)

// hear takes one packet.
func (s *speaker) hear(p heard) {
	from := p.from.AddrPort()
	addr := from.Addr().WithZone("").Unmap()
	m, err := dns.Parse(p.data)
	if err != nil || m.Opcode != 0 || m.RCode != 0 || !s.link.onLink(addr) {
		return
	}

	if m.Response {
		if from.Port() == mdnsPort && !s.r.owns(addr) {
			s.judge(m)
		}
		return
	}

	s.r.queries.Add(1)
	if !s.sure {
		if !s.r.owns(addr) && len(m.Authorities) > 0 && s.tie(m) {
			s.lost()
		}
		return
	}

	s.query(m, netip.AddrPortFrom(addr, from.Port()))
}

// query answers, or waits for the rest of a query whose known answers did
// not fit into one packet: RFC 6762, section 7.2.
func (s *speaker) query(m *dns.Message, from netip.AddrPort) {
	if first := s.pending[from]; first != nil {
		if len(first.Answers)+len(m.Answers) <= 4*maxInstances {
			first.Answers = append(first.Answers, m.Answers...)
		}
		if len(m.Questions) == 0 {
			return
		}
	}

	if !m.Truncated || len(s.pending) >= maxPending {
		s.answer(m, from)
		return
	}

	s.pending[from] = m
	s.schedule(400*time.Millisecond+pauseShared(), func() {
		delete(s.pending, from)
		s.answer(m, from)
	})
}

// answer answers a query: unique records at once, shared ones after a
// pause in which others may be answering.
func (s *speaker) answer(m *dns.Message, from netip.AddrPort) {
	// The socket is bound to the link, so no zone is needed.
	to := &net.UDPAddr{IP: from.Addr().AsSlice(), Port: int(from.Port())}
	if from.Port() != mdnsPort {
		s.answerLegacy(m, to)
		return
	}

	// A unicast answer to this machine would take the loopback, and not
	// reach a socket that is bound to the link.
	own := s.r.owns(from.Addr())
	direct := s.zone.reply(m, func(q dns.Question) bool { return q.Unicast && !own })
	if len(direct.unique) > 0 {
		s.send(s.zone.message(direct.unique), to)
	}
	if len(direct.shared) > 0 {
		s.schedule(pauseShared(), func() { s.send(s.zone.message(direct.shared), to) })
	}

	s.multicast(s.stale(direct.unique), time.Second)
	for _, r := range s.stale(direct.shared) {
		s.schedule(pauseShared(), func() { s.multicast([]owned{r}, time.Second) }, r)
	}
	all := s.zone.reply(m, func(q dns.Question) bool { return !q.Unicast || own })

	// A probe must hear of us in time: section 6, the exception.
	again := time.Second
	if len(m.Authorities) > 0 {
		again = probeInterval
	}
	s.multicast(all.unique, again)
	for _, r := range all.shared {
		s.schedule(pauseShared(), func() { s.multicast([]owned{r}, again) }, r)
	}
}

// stale returns the records that nobody but the asker would hear of for too
// long: those not multicast within a quarter of their time to live. They
// are multicast beside the unicast answer, so that caches stay fresh and a
// conflict shows: RFC 6762, section 5.4, which would have them multicast
// only; on a LAN that loses multicast the asker needs its own copy. NSEC
// records are announced to nobody in the first place.
func (s *speaker) stale(answers []owned) []owned {
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(answers), func(r owned) bool {
		return r.Data.Type() == dns.TypeNSEC || now.Sub(s.sent[r.cacheKey()]) <= time.Duration(r.TTL)*time.Second/4
	})
}

// answerLegacy answers a simple resolver.
func (s *speaker) answerLegacy(m *dns.Message, to net.Addr) {
	r := s.zone.reply(m, func(dns.Question) bool { return true })
	r.unique = slices.DeleteFunc(r.unique, func(o owned) bool { return o.Data.Type() == dns.TypeNSEC })
	if len(r.unique) > 0 {
		s.send(s.zone.legacy(m, r.unique), to)
	}
	if len(r.shared) > 0 {
		s.schedule(pauseShared(), func() { s.send(s.zone.legacy(m, r.shared), to) })
	}
}
