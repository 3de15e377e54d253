package ledger

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Bounds of what machines that nobody approved leave in the audit log, which
// only grows. Each source, and all of them together, may spend so many events
// at once, and gets them back evenly over a day.
const (
	strangersPerSource = 250
	strangersInAll     = 1000
	strangersDay       = 24 * time.Hour
	// strangersEvery is how often one event says how many were left out.
	strangersEvery = time.Hour
)

// strangers counts the events of machines that nobody approved. Times are on
// the ledger's clock.
type strangers struct {
	mu      sync.Mutex
	all     spent
	sources map[string]spent // those that have not got all back

	left  int           // since it was said last
	from  time.Duration // when the first of them was left out
	next  time.Duration // when it may be said again
	total uint64        // of this process
}

// spent is what was taken of a bound, as of a time.
type spent struct {
	events float64
	at     time.Duration
}

// now is what of it has not come back yet.
func (s spent) now(now time.Duration, most float64) float64 {
	return max(0, s.events-most*float64(now-s.at)/float64(strangersDay))
}

// take spends an event of a source, if both bounds have one.
func (s *strangers) take(source string, now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, one := s.all.now(now, strangersInAll), s.sources[source].now(now, strangersPerSource)
	if all+1 > strangersInAll || one+1 > strangersPerSource {
		return false
	}

	s.all = spent{all + 1, now}
	if s.sources == nil || len(s.sources) > 2*strangersInAll {
		s.forget(now)
	}
	s.sources[source] = spent{one + 1, now}
	return true
}

// forget drops the sources that have got all back, so that there are no more
// of them than events were spent in a day.
func (s *strangers) forget(now time.Duration) {
	kept := map[string]spent{}
	for source, was := range s.sources {
		if was.now(now, strangersPerSource) > 0 {
			kept[source] = was
		}
	}
	s.sources = kept
}

// A due is what a transaction has done to the counts, to be undone if it runs
// again or fails.
type due struct {
	took []string // sources
	left int
	said int
}

func (s *strangers) undo(d due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, source := range d.took {
		s.all.events--
		one := s.sources[source]
		one.events--
		s.sources[source] = one
	}
	s.left += d.said
}

// done counts what was left out by a transaction that is on disk.
func (s *strangers) done(d due, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.said > 0 {
		s.next = now + strangersEvery
	}
	if s.left == 0 {
		s.from = now
	}
	s.left += d.left
	s.total += uint64(d.left)
}

// toSay takes what is to be said now; 0: nothing.
func (s *strangers) toSay(now time.Duration) (left int, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 || now < s.next {
		return 0, 0
	}
	left, s.left = s.left, 0
	return left, now - s.from
}

// NoteStranger is Note for an event of a machine that nobody approved. Beyond
// the bounds it is counted only: one event an hour says how many were left
// out. Who listens hears of it in any case, with no sequence number.
func (t *Txn) NoteStranger(e Event) error {
	s := &t.View.l.strangers
	source := SourceOf(e.From)
	if !s.take(source, t.View.l.Now()) {
		t.due.left++
		e.Time = time.Now().UTC()
		t.noted = append(t.noted, e)
		return nil
	}
	t.due.took = append(t.due.took, source)
	return t.Note(e)
}

// noteLeftOut says how many events were left out, if that is due.
func (t *Txn) noteLeftOut() error {
	if len(t.noted) == 0 {
		return nil
	}
	n, since := t.View.l.strangers.toSay(t.View.l.Now())
	if n == 0 {
		return nil
	}
	t.due.said = n
	return t.Note(Event{Event: "strangers", Detail: fmt.Sprintf("%d events of machines that nobody approved were left out in %s", n, since.Round(time.Second))})
}

// LeftOut is how many events of machines that nobody approved this process
// has left out of the audit log.
func (l *Ledger) LeftOut() uint64 {
	l.strangers.mu.Lock()
	defer l.strangers.mu.Unlock()
	return l.strangers.total
}

// SourceOf is what counts as one source of requests: an IPv4 address, or an
// IPv6 /64.
func SourceOf(from string) string {
	a, err := netip.ParseAddr(from)
	if err != nil {
		return from
	}
	a = a.Unmap().WithZone("")
	if a.Is4() || a.IsLinkLocalUnicast() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return from
	}
	return p.String()
}
