package discover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"latchkey/discover/dns"
)

// Queries are sent at 0 s for unicast answers, then at 1, 3, 7 s and so on
// (RFC 6762, sections 5.2 and 5.4). The section lets the pause grow to an
// hour. It stops at a minute here: a key server that comes back after a
// power cut may be announced while switches do not forward yet, or not
// announced at all (hashicorp/mdns), and machines wait for it.
const (
	firstInterval = time.Second
	lastInterval  = time.Minute
)

// maxKnown caps the known answers of one query: a flood of forged records
// must not make each of our questions long.
const maxKnown = 32

// jitter is d give or take a tenth.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }

// askAll asks for everything that is wanted, and sets the time of the next
// question.
func (b *browser) askAll(now time.Time) error {
	// A unicast answer comes at once, and no more than once; a machine whose
	// address has no network (/32) would have to drop it (section 11).
	first := b.askedAt.IsZero() && b.direct && b.link.hasNetwork(b.v6)
	qs := b.questions(first)
	if err := b.ask(append(qs, b.missing(now, first)...), b.known(qs, now)); err != nil {
		return err
	}
	b.askedAt, b.skipped = now, false
	b.schedule(now)
	return nil
}

// schedule sets the time of the next question: later each time, but before
// something that is known runs out. A flood of records that run out one after
// the other must not make us ask all the time.
func (b *browser) schedule(now time.Time) {
	b.interval = min(max(2*b.interval, firstInterval), lastInterval)
	b.askAt = now.Add(jitter(b.interval))
	if renew := b.cache.renewAt(now.Add(max(firstInterval, b.interval/4))); !renew.IsZero() && renew.Before(b.askAt) {
		b.askAt = renew
	}
}

// questions asks for all that the query names.
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

// known lists what need not be answered: RFC 6762, section 7.1. An instance
// counts only if its server and an address are known as well, because those
// come with it and live shorter.
func (b *browser) known(qs []dns.Question, now time.Time) []dns.Record {
	var out []dns.Record
	for _, q := range qs {
		b.cache.each(q.Name, q.Type, func(d dns.Data, l life) {
			if !l.isFresh(now) || len(out) >= maxKnown {
				return
			}
			if ptr, ok := d.(dns.PTR); ok && !b.knowsServer(ptr.Target, now) {
				return
			}
			out = append(out, dns.Record{Name: q.Name, Class: dns.ClassIN, TTL: uint32(l.left(now) / time.Second), Data: d})
		})
	}
	return out
}

func (b *browser) knowsServer(instance dns.Name, now time.Time) bool {
	knows := false
	b.cache.each(instance, dns.TypeSRV, func(d dns.Data, l life) {
		if !l.isFresh(now) {
			return
		}
		for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
			b.cache.each(d.(dns.SRV).Target, t, func(_ dns.Data, l life) { knows = knows || l.isFresh(now) })
		}
	})
	return knows
}

// ask sends questions, in as many packets as they need, the first of them
// with those known answers that fit. Those that do not are left out rather
// than sent in a packet of their own: for that all responders would wait
// half a second (RFC 6762, section 7.2).
func (b *browser) ask(qs []dns.Question, known []dns.Record) error {
	for len(qs) > 0 {
		m := &dns.Message{}
		limit := b.link.payload(b.v6)
		for len(qs) > 0 {
			m.Questions = append(m.Questions, qs[0])
			if len(m.Questions) > 1 && m.Size() > limit {
				m.Questions = m.Questions[:len(m.Questions)-1]
				break
			}
			qs = qs[1:]
		}

		for len(known) > 0 {
			m.Answers = append(m.Answers, known[0])
			if m.Size() > limit {
				m.Answers = m.Answers[:len(m.Answers)-1]
				break
			}
			known = known[1:]
		}
		known = nil

		packet, err := m.Pack()
		if err != nil {
			return err
		}
		if _, err := b.conn.WriteTo(packet, groupAddr(b.v6)); err != nil {
			return fmt.Errorf("asking by mDNS on %s: %w", b.link.Name, err)
		}
	}
	return nil
}

// overhear lets another machine's question stand for ours, if it is the
// same and leaves out no answer that we want: RFC 6762, section 7.3. Where
// five hundred machines wait for one key server it is asked for about as
// often as by one. Never twice in a row: a machine that lies must not keep
// us silent.
func (b *browser) overhear(m *dns.Message, now time.Time) {
	if b.askedAt.IsZero() || b.skipped || m.Truncated || len(m.Authorities) > 0 || b.interval < 2*firstInterval {
		return
	}
	for _, q := range b.questions(false) {
		if !slices.ContainsFunc(m.Questions, func(o dns.Question) bool {
			return !o.Unicast && o.Type == q.Type && o.Name.Equal(q.Name) && o.Class == dns.ClassIN
		}) {
			return
		}
	}

	ours := b.known(b.questions(false), now)
	for _, r := range m.Answers {
		if !slices.ContainsFunc(ours, func(o dns.Record) bool { return keyOf(o) == keyOf(r) }) {
			return
		}
	}

	b.skipped = true
	b.schedule(now)
}
