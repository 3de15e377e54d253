package discover

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"time"

	"latchkey/discover/dns"
)

// Probing is three queries, 250 ms apart, after a random pause of as much:
// RFC 6762, section 8.1.
const (
	probes        = 3
	probeInterval = 250 * time.Millisecond
	// lostTie is how long the loser of two that probe at once waits.
	lostTie = time.Second
)

// probe asks for the names that are to be ours, with what we would say of
// them, and announces it all when nobody objects. The questions want
// multicast answers: a unicast one may go to another program that shares
// the port.
func (s *speaker) probe(n int) {
	names := s.zone.names()
	if n == probes || len(names) == 0 {
		s.sure = true
		s.announce(0)
		return
	}
	if n == 0 {
		s.schedule(rand.N(probeInterval), func() { s.sendProbe(names, n) })
		return
	}
	s.sendProbe(names, n)
}

func (s *speaker) sendProbe(names []dns.Name, n int) {
	m := &dns.Message{}
	for _, name := range names {
		m.Questions = append(m.Questions, dns.Question{Name: name, Type: dns.TypeANY})
		for _, r := range s.zone.of(name, dns.TypeANY) {
			m.Authorities = append(m.Authorities, r.Record)
		}
	}
	s.send(m, nil)
	s.schedule(probeInterval, func() { s.probe(n + 1) })
}

// names are the names that nobody else may have.
func (z zone) names() []dns.Name {
	var out []dns.Name
	for _, r := range z.records {
		if !r.shared && !slices.ContainsFunc(out, r.Name.Equal) {
			out = append(out, r.Name)
		}
	}
	return out
}

// judge looks at another machine's answers. One that says something else
// of a name of ours is a conflict: while probing any record of the name is
// one, and we take another name; later only another value of the same
// type, and we defend ours. One that says what we were about to say calls
// ours off (RFC 6762, section 7.4).
func (s *speaker) judge(m *dns.Message) {
	for _, r := range slices.Concat(m.Answers, m.Authorities, m.Additionals) {
		if r.Class != dns.ClassIN || r.Data.Type() == dns.TypeNSEC || r.TTL == 0 {
			continue
		}
		ours := s.zone.of(r.Name, dns.TypeANY)
		same := slices.ContainsFunc(ours, func(o owned) bool { return o.Data == r.Data })
		switch {
		case same:
			s.callOff(r)
		case !s.zone.unique(r.Name):
		case !s.sure:
			s.r.conflict(r.Name, s.zone)
			return
		case slices.ContainsFunc(ours, func(o owned) bool { return o.Data.Type() == r.Data.Type() }):
			s.defend(r.Name)
		}
	}
}

// defend says again what we say of a name. RFC 6762, section 9, would have
// us probe again, and change the name if the other machine answers; then
// one forged packet takes the name that machines are told to ask for. They
// try every answer and trust none, so two that answer do no harm.
func (s *speaker) defend(name dns.Name) {
	s.r.challenge(name)
	s.multicast(slices.DeleteFunc(s.zone.of(name, dns.TypeANY), func(o owned) bool { return o.shared }), time.Second)
}

func (s *speaker) callOff(r dns.Record) {
	s.later = slices.DeleteFunc(s.later, func(l later) bool {
		return len(l.answers) == 1 && l.answers[0].Data == r.Data && l.answers[0].Name.Equal(r.Name) && r.TTL >= l.answers[0].TTL/2
	})
}

// tie settles who gets a name that two probe for at once: the one whose
// records come later in order (RFC 6762, section 8.2). It tells whether
// we lost.
func (s *speaker) tie(m *dns.Message) bool {
	for _, name := range s.zone.names() {
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
	slices.SortFunc(out, bytes.Compare)
	return out
}

// lost starts probing again after a lost tie. By then the winner has
// announced, and its records are a conflict.
func (s *speaker) lost() {
	s.later = nil
	s.schedule(lostTie, func() { s.probe(0) })
}
