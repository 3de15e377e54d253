package discover

import (
	"bytes"
	"slices"
	"time"

	"latchkey/discover/dns"
	"latchkey/internal/order"
)

// Probing is three queries, 250 ms apart, after a random pause of as much:
// RFC 6762, section 8.1.
const (
	probes        = 3
	probeInterval = 250 * time.Millisecond
	// lostTie is how long the loser of two that probe at once waits.
	lostTie = time.Second
)

// unsure are the names that are still in question.
func (s *speaker) unsure() []dns.Name {
	return slices.DeleteFunc(s.zone.names(), func(n dns.Name) bool { return s.sure[n] })
}

// probe asks for the names that are to be ours, with what we would say of
// them, and announces it all when nobody objects. A probe that could not be
// sent is none. The questions want multicast answers: a unicast one may go
// to another program that shares the port.
func (s *speaker) probe(now time.Time) {
	names := s.unsure()
	if s.probes == probes || len(names) == 0 {
		for _, n := range names {
			s.sure[n] = true
		}
		s.probeAt, s.live = time.Time{}, s.zone.sayable(s.sure)
		s.announce(now)
		return
	}

	if s.send(nil, s.probeMessages(names)...) != nil {
		s.probeAt = now.Add(time.Second)
		return
	}
	s.probes++
	s.probeAt = now.Add(probeInterval)
}

// probeMessages asks for names, each together with its records in one
// message: by those a tie is settled.
func (s *speaker) probeMessages(names []dns.Name) []*dns.Message {
	var out []*dns.Message
	for _, name := range names {
		var records []dns.Record
		for _, r := range s.zone.of(name, dns.TypeANY) {
			records = append(records, r.Record)
		}
		question := dns.Question{Name: name, Type: dns.TypeANY}

		if len(out) > 0 {
			last := out[len(out)-1]
			with := &dns.Message{Questions: append(slices.Clone(last.Questions), question), Authorities: slices.Concat(last.Authorities, records)}
			if with.Size() <= s.link.payload(s.v6) {
				*last = *with
				continue
			}
		}
		out = append(out, &dns.Message{Questions: []dns.Question{question}, Authorities: records})
	}
	return out
}

// contest looks at another machine's probe: it may be for a name that we
// want, too. One that answers for another key server of the same name
// shares it.
func (s *speaker) contest(m *dns.Message, now time.Time) {
	shared := false
	for _, host := range s.zone.sameRole(m.Authorities) {
		shared = s.r.share(host) || shared
	}
	if shared {
		s.zone = s.r.zone(s.link)
		s.live = s.zone.sayable(s.sure)
	}
	if !s.probeAt.IsZero() && s.tie(m) {
		s.probes, s.probeAt = 0, now.Add(lostTie) // by then the winner has announced
	}
}

// judge looks at another machine's answers. One that says something else
// of a name of ours is a conflict: while probing any record of the name is
// one, and we take another name; later only another value of the same
// type, and we defend ours. One that says what we were about to say calls
// ours off (RFC 6762, section 7.4); one that lets a record of ours die is
// spoken against (section 6.6).
func (s *speaker) judge(m *dns.Message, now time.Time) {
	records := slices.Concat(m.Answers, m.Authorities, m.Additionals)
	s.join(records)
	for _, r := range records {
		if r.Class != dns.ClassIN || r.Data.Type() == dns.TypeNSEC {
			continue
		}
		ours := s.zone.of(r.Name, dns.TypeANY)
		name := r.Name.Key()
		switch i := slices.IndexFunc(ours, func(o owned) bool { return o.Data == r.Data }); {
		case i >= 0 && r.TTL < ours[i].TTL/2:
			if s.live.has(ours[i]) {
				s.due.add(ours[i].key(), due{again: time.Second, must: true}, now)
			}
		case i >= 0:
			delete(s.due.records, ours[i].key())
		case r.TTL == 0 || !s.zone.claims(r.Name):
		case !r.Flush && !s.zone.unique(r.Name): // of another key server under this name
		case !s.sure[name]:
			s.r.conflict(r.Name)
			s.probes, s.probeAt = 0, now.Add(slowConflict) // the new name comes before that
			return
		case slices.ContainsFunc(ours, func(o owned) bool { return o.Data.Type() == r.Data.Type() }):
			s.defend(r.Name, now)
		}
	}
}

// join shares a name with another key server that shares it: its addresses
// come without the flush bit, which only a machine that has a name alone
// may set (RFC 6762, section 10.2), and with the service that we answer for,
// too.
func (s *speaker) join(records []dns.Record) {
	for _, host := range s.zone.sameRole(records) {
		alone := slices.ContainsFunc(records, func(r dns.Record) bool {
			t := r.Data.Type()
			return r.Flush && r.Name.Equal(host) && (t == dns.TypeA || t == dns.TypeAAAA)
		})
		if !alone && s.r.share(host) {
			s.zone = s.r.zone(s.link)
			s.live = s.zone.sayable(s.sure)
		}
	}
}

// defend says again what we say of a name. RFC 6762, section 9, would have
// us probe again, and change the name if the other machine answers; then
// one forged packet takes the name that machines are told to ask for. They
// try every answer and trust none, so two that answer do no harm.
func (s *speaker) defend(name dns.Name, now time.Time) {
	s.r.challenge(name)
	s.multicast(slices.DeleteFunc(s.live.of(name, dns.TypeANY), func(o owned) bool { return !o.isClaimed() }), time.Second, now)
}

// tie settles who gets a name that two probe for at once: the one whose
// records come later in order (RFC 6762, section 8.2). It tells whether
// we lost.
func (s *speaker) tie(m *dns.Message) bool {
	for _, name := range s.unsure() {
		if !s.zone.unique(name) {
			continue
		}
		var theirs []dns.Record
		for _, r := range m.Authorities {
			if r.Name.Equal(name) {
				theirs = append(theirs, r)
			}
		}

		var ours []dns.Record
		for _, r := range s.zone.of(name, dns.TypeANY) {
			ours = append(ours, r.Record)
		}
		if len(theirs) > 0 && slices.CompareFunc(sorted(ours), sorted(theirs), bytes.Compare) < 0 {
			return true
		}
	}
	return false
}

// sorted returns records as class, type and raw data, in order.
func sorted(records []dns.Record) [][]byte {
	var out [][]byte
	for _, r := range records {
		if raw, err := r.Canonical(); err == nil {
			out = append(out, raw)
		}
	}
	order.By(out, bytes.Compare)
	return out
}
