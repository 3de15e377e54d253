package discover

import (
	"net"
	"slices"
	"sort"
	"time"

	"latchkey/discover/dns"
)

// Answers that may wait are sent together: what comes due is held for those
// that come soon after, but no longer than mostHeld (RFC 6762, section
// 6.4).
const (
	leastHeld = 20 * time.Millisecond
	mostHeld  = 500 * time.Millisecond
)

// dues are records that are to be multicast soon. There are no more of
// them than the zone has.
type dues struct {
	records map[cacheKey]due
	since   time.Time
	at      time.Time // zero: none
}

// A due is how one record waits.
type due struct {
	again time.Duration // not if it was sent within this time,
	must  bool          // but wait until then, if others rely on it
}

func newDues() dues { return dues{records: map[cacheKey]due{}} }

// add puts a record in.
func (d *dues) add(k cacheKey, how due, now time.Time) {
	if old, ok := d.records[k]; ok {
		d.records[k] = due{min(old.again, how.again), old.must || how.must}
		return
	}
	d.records[k] = how
	if d.at.IsZero() {
		d.since, d.at = now, now.Add(pauseShared())
		return
	}
	if least := now.Add(leastHeld); d.at.Before(least) && !least.After(d.since.Add(mostHeld)) {
		d.at = least
	}
}

// sendDue multicasts what waits. What was said a moment ago and must be
// said again waits on.
func (s *speaker) sendDue(now time.Time) {
	waiting := s.due
	s.due = newDues()
	var out []owned
	for _, r := range s.live.records {
		how, ok := waiting.records[r.key()]
		if !ok {
			continue
		}
		if last := s.sent[r.key()]; now.Sub(last) >= how.again {
			out = append(out, r)
		} else if how.must {
			s.due.records[r.key()] = how
			s.due.since, s.due.at = now, sooner(last.Add(how.again), s.due.at)
		}
	}
	s.multicast(out, 0, now)
}

// multicast sends records to everybody, but none that was sent within a
// time (a second: RFC 6762, section 6).
func (s *speaker) multicast(answers []owned, again time.Duration, now time.Time) error {
	answers = slices.DeleteFunc(slices.Clone(answers), func(r owned) bool {
		return again > 0 && now.Sub(s.sent[r.key()]) < again
	})
	if len(answers) == 0 {
		return nil
	}
	if err := s.send(nil, s.messages(answers)...); err != nil {
		return err
	}
	for _, r := range answers {
		s.sent[r.key()] = now
	}
	return nil
}

// messages makes multicast DNS answers of records: RFC 6762, section 18,
// as many as the link's packets need (section 17), each with those
// additional records that fit.
func (s *speaker) messages(answers []owned) []*dns.Message {
	var out []*dns.Message
	limit := s.link.payload(s.v6)
	for len(answers) > 0 {
		m := &dns.Message{Response: true, Authoritative: true}
		n := fill(m, &m.Answers, answers, limit)
		if n == 0 { // too large for any packet: IP takes it apart
			m.Answers, n = []dns.Record{answers[0].flushing()}, 1
		}
		fill(m, &m.Additionals, s.live.more(answers[:n]), limit)
		out, answers = append(out, m), answers[n:]
	}
	return out
}

// fill puts as many records into a section of a message as the limit allows,
// and returns how many. Mostly that is all of them.
func fill(m *dns.Message, section *[]dns.Record, records []owned, limit int) int {
	for _, r := range records {
		*section = append(*section, r.flushing())
	}
	if m.Size() <= limit {
		return len(records)
	}

	whole := *section
	n := sort.Search(len(records), func(n int) bool {
		*section = whole[:n+1]
		return m.Size() > limit
	})
	*section = whole[:n]
	return n
}

// send sends messages, to everybody if to is nil, until one fails. That a
// link takes nothing is said once.
func (s *speaker) send(to net.Addr, messages ...*dns.Message) error {
	everybody := to == nil
	if everybody {
		to = groupAddr(s.v6)
	}
	for _, m := range messages {
		packet, err := m.Pack()
		if err == nil {
			if everybody {
				s.r.said.note(packet)
			}
			_, err = s.conn.WriteTo(packet, to)
		}
		if err != nil {
			if !s.failing {
				s.r.log.Warn("cannot send mDNS on this link; trying again", "link", s.link.Name, "ipv6", s.v6, "error", err)
			}
			s.failing = true
			return err
		}
		if m.Response {
			s.r.answers.Add(1)
		}
	}

	s.failing = false
	return nil
}

// sendNews announces, and says when to do so again. An announcement that
// could not be sent is none.
func (s *speaker) sendNews(now time.Time) {
	if s.multicast(s.live.records, 0, now) != nil {
		s.newsAt = now.Add(time.Second)
		return
	}
	s.announced++
	s.newsAt = now.Add(time.Second << (s.announced - 1))
	if s.announced == announcements || len(s.live.records) == 0 {
		s.newsAt = time.Time{}
	}
}

// goodbye takes records back: RFC 6762, section 10.1. Without the flush
// bit, so that another machine's records of the name stay. Only what may
// have been announced is taken back, so these are live records.
func (s *speaker) goodbye(records []owned) {
	var gone []owned
	for _, r := range records {
		if r.Name == serviceTypes {
			continue // others may have the type, too
		}
		delete(s.sent, r.key())
		r.TTL, r.shared = 0, true
		gone = append(gone, r)
	}
	if len(gone) == 0 {
		return
	}

	messages := (&speaker{link: s.link, v6: s.v6}).messages(gone) // nothing is added to a goodbye
	s.conn.SetWriteDeadline(time.Now().Add(goodbyeTime))
	s.send(nil, messages...)
	s.conn.SetWriteDeadline(time.Time{})
}
