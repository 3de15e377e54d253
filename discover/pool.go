package discover

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// maxCandidates caps the pool; a LAN with an attacker offers more.
const maxCandidates = 128

// AsideTime is how long a bad candidate is set aside by default.
const AsideTime = 30 * time.Second

// fairTime is how long the pool remembers whose candidates were offered,
// and maxTellers how many it remembers.
const (
	fairTime   = time.Minute
	maxTellers = 1024
)

// A pool holds the candidates that are known, and hands each out once. It
// is fair to those who tell of candidates: one machine that floods the LAN
// with forged ones has its own offered in turn with the others'.
type pool struct {
	mu      sync.Mutex
	entries map[poolKey]*entry
	order   int                // of the next entry
	offers  map[netip.Addr]int // in this fairTime, by teller
	since   time.Time          // of offers
	changed chan struct{}      // closed and replaced at each change
}

// poolKey is what makes two candidates the same one.
type poolKey struct {
	addr netip.AddrPort
	url  string
}

type entry struct {
	Candidate
	teller    netip.Addr // invalid if it was not found by multicast
	order     int
	offered   bool
	notBefore time.Time // set aside until then
	expires   time.Time // zero is never
}

func newPool() *pool {
	return &pool{entries: map[poolKey]*entry{}, offers: map[netip.Addr]int{}, changed: make(chan struct{})}
}

func (c Candidate) key() poolKey { return poolKey{c.Addr, c.URL} }

// add puts a candidate in, or lets a known one live longer. A zero ttl is
// for ever. It tells whether the candidate is new.
func (p *pool) add(c Candidate, ttl time.Duration, teller netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var expires time.Time
	if ttl > 0 {
		expires = time.Now().Add(ttl)
	}

	if e := p.entries[c.key()]; e != nil {
		e.Candidate = c
		if !e.expires.IsZero() && e.expires.Before(expires) {
			e.expires = expires
		}
		return false
	}

	if len(p.entries) >= maxCandidates {
		p.evict()
	}
	p.entries[c.key()] = &entry{Candidate: c, teller: teller, order: p.order, expires: expires}
	p.order++
	p.notify()
	return true
}

// evict makes room: from the teller with the most candidates it takes one
// that was offered, else any.
func (p *pool) evict() {
	count := map[netip.Addr]int{}
	for _, e := range p.entries {
		count[e.teller]++
	}
	delete(count, netip.Addr{})
	var victim poolKey
	best, ties := -1, 0
	for k, e := range p.entries {
		rank := 2 * count[e.teller]
		if e.offered {
			rank++
		}
		if rank > best {
			best, ties = rank, 0
		}

		if rank == best {
			if ties++; rand.N(ties) == 0 {
				victim = k
			}
		}
	}

	delete(p.entries, victim)
}

// withdraw takes out those candidates that gone names.
func (p *pool) withdraw(gone func(Candidate) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, e := range p.entries {
		if gone(e.Candidate) {
			delete(p.entries, k)
		}
	}
}

// setAside makes the candidate be offered again, but not before d.
func (p *pool) setAside(c Candidate, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[c.key()]; e != nil {
		e.offered, e.notBefore = false, time.Now().Add(d)
		p.notify()
	}
}

func (p *pool) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// next waits for a candidate.
func (p *pool) next(ctx context.Context) (Candidate, error) {
	for {
		c, wait, changed := p.take()
		if c != nil {
			return *c, nil
		}

		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return Candidate{}, ctx.Err()
		case <-changed:
		case <-again:
		}
	}
}
