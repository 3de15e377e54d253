package discover

import (
	"slices"

	"latchkey/discover/dns"
)

// A reply is what a query is answered with, before it is known how it
// travels.
type reply struct {
	unique []owned // at once
	shared []owned // after a random pause: others answer too
}

// answers returns the records that answer a question. For a name of ours
// without the type in question that is the NSEC record.
func (z zone) answers(q dns.Question) []owned {
	if q.Class != dns.ClassIN && q.Class != dns.ClassANY {
		return nil
	}
	found := z.of(q.Name, q.Type)
	if len(found) == 0 && z.unique(q.Name) {
		return []owned{z.nsec(q.Name)}
	}
	return found
}

// reply answers those questions that pick likes, less what the asker
// knows already: RFC 6762, section 7.1.
func (z zone) reply(m *dns.Message, pick func(dns.Question) bool) reply {
	var r reply
	for _, q := range m.Questions {
		if !pick(q) {
			continue
		}
		for _, a := range z.answers(q) {
			switch {
			case known(m.Answers, a):
			case a.shared:
				r.shared = join(r.shared, a)
			default:
				r.unique = join(r.unique, a)
			}
		}
	}
	return r
}

// known tells whether the asker's list has the record, with at least half
// of its time to live.
func known(list []dns.Record, r owned) bool {
	return slices.ContainsFunc(list, func(k dns.Record) bool {
		return k.Data == r.Data && k.Name.Equal(r.Name) && k.TTL >= r.TTL/2
	})
}

func join(list []owned, r owned) []owned {
	if slices.ContainsFunc(list, func(o owned) bool { return o.Name.Equal(r.Name) && o.Data == r.Data }) {
		return list
	}
	return append(list, r)
}

// more returns what the asker will want next: RFC 6763, section 12.
func (z zone) more(answers []owned) []owned {
	var out []owned
	add := func(list ...owned) {
		for _, r := range list {
			if !slices.ContainsFunc(answers, func(o owned) bool { return o.Name.Equal(r.Name) && o.Data == r.Data }) {
				out = join(out, r)
			}
		}
	}
	host := func(name dns.Name) {
		found := z.of(name, dns.TypeA, dns.TypeAAAA)
		add(found...)
		if z.unique(name) && len(z.of(name, dns.TypeA)) == 0 != (len(z.of(name, dns.TypeAAAA)) == 0) {
			add(z.nsec(name))
		}
	}
	for _, a := range answers {
		switch d := a.Data.(type) {
		case dns.PTR:
			for _, srv := range z.of(d.Target, dns.TypeSRV) {
				add(srv)
				host(srv.Data.(dns.SRV).Target)
			}
			add(z.of(d.Target, dns.TypeTXT)...)
		case dns.SRV:
			host(d.Target)
		case dns.A, dns.AAAA:
			host(a.Name)
			if a.shared {
				add(z.serversOn(a.Name)...)
			}
		}
	}

	return out
}

// flushing returns the record with the bit that says that it is unique.
func (r owned) flushing() dns.Record {
	out := r.Record
	out.Flush = !r.shared
	return out
}

// serversOn are the SRV records that lead to a host. They tell other key
// servers of the same name that it is shared: sameRole.
func (z zone) serversOn(host dns.Name) []owned {
	var out []owned
	for _, r := range z.records {
		if srv, ok := r.Data.(dns.SRV); ok && srv.Target.Equal(host) {
			out = append(out, r)
		}
	}
	return out
}

// legacy makes an answer for a simple resolver, which asks from a port of
// its own and reads one packet: RFC 6762, section 6.7. All records are
// answers, in the order PTR, SRV, address, TXT, because Kairos' client
// reads no other section and needs the address before the text.
func (s *speaker) legacy(q *dns.Message, answers []owned) *dns.Message {
	m := &dns.Message{ID: q.ID, Response: true, Authoritative: true, Recurse: q.Recurse, Questions: slices.Clone(q.Questions)}
	for i := range m.Questions {
		m.Questions[i].Unicast = false
	}
	for _, a := range append(slices.Clone(answers), s.live.more(answers)...) {
		if a.Data.Type() == dns.TypeNSEC {
			continue
		}
		r := a.Record
		r.TTL = min(r.TTL, legacyTTL)
		m.Answers = append(m.Answers, r)
		if len(m.Answers) > 1 && m.Size() > s.link.payload(s.v6) {
			m.Answers = m.Answers[:len(m.Answers)-1]
			break
		}
	}
	return m
}
