package discover

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// maxCandidates caps the pool; a LAN with an attacker offers more.
const maxCandidates = 128

// AsideTime is how long a bad candidate is set aside by default.
const AsideTime = 30 * time.Second

// A pool holds the candidates that are known, and hands each out once.
type pool struct {
	mu      sync.Mutex
	entries map[poolKey]*entry
	order   int           // of the next entry
	changed chan struct{} // closed and replaced at each change
}

// poolKey is what makes two candidates the same one.
type poolKey struct {
	addr string
	url  string
}

type entry struct {
	Candidate
	order     int
	offered   bool
	notBefore time.Time // set aside until then
	expires   time.Time // zero is never
}

func newPool() *pool {
	return &pool{entries: map[poolKey]*entry{}, changed: make(chan struct{})}
}

func (c Candidate) key() poolKey { return poolKey{c.Addr.String(), c.URL} }

// add puts a candidate in, or lets a known one live longer. A zero ttl is
// for ever. It tells whether the candidate is new.
func (p *pool) add(c Candidate, ttl time.Duration) bool {
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
	p.entries[c.key()] = &entry{Candidate: c, order: p.order, expires: expires}
	p.order++
	p.notify()
	return true
}

// evict makes room: first one that was tried, then any that was found by
// multicast. Which one is chance, so that a flood cannot keep the true
// server out: it comes back with each answer.
func (p *pool) evict() {
	var victim poolKey
	best, ties := -1, 0
	for k, e := range p.entries {
		rank := 0
		if e.Source == FromMDNS {
			rank = 1
		}
		if e.offered {
			rank += 2
		}
		if rank > best {
			best, ties = rank, 0
		}
		if ties++; rank == best && rand.N(ties) == 0 {
			victim = k
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

// take returns a candidate that may be offered now, else how long until
// one may be, 0 if none waits.
func (p *pool) take() (*Candidate, time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var best *entry
	var wait time.Duration
	for k, e := range p.entries {
		if !e.expires.IsZero() && now.After(e.expires) {
			delete(p.entries, k)
			continue
		}
		if e.offered {
			continue
		}
		if left := e.notBefore.Sub(now); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		if best == nil || e.before(best) {
			best = e
		}
	}
	if best == nil {
		return nil, wait, p.changed
	}
	best.offered = true
	return &best.Candidate, 0, nil
}

// before orders offers: those never tried, those that a URL names, then
// as they came.
func (e *entry) before(o *entry) bool {
	if fresh := e.notBefore.IsZero(); fresh != o.notBefore.IsZero() {
		return fresh
	}
	if named := e.URL != ""; named != (o.URL != "") {
		return named
	}
	return e.order < o.order
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
