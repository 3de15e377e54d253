package discover

import (
	"net/netip"
	"time"
)

// take returns a candidate that may be offered now, else how long until
// one may be (0 if none waits) and what tells of changes.
func (p *pool) take() (*Candidate, time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.since) > fairTime || len(p.offers) > maxTellers {
		p.since, p.offers = now, map[netip.Addr]int{}
	}

	var best *entry
	var wait time.Duration
	for k, e := range p.entries {
		if !e.expires.IsZero() && now.After(e.expires) {
			delete(p.entries, k)
			continue
		}
		left := e.notBefore.Sub(now)
		switch {
		case e.offered:
		case left > 0:
			if wait == 0 || left < wait {
				wait = left
			}
		case best == nil || p.before(e, best):
			best = e
		}
	}

	if best == nil {
		return nil, wait, p.changed
	}
	best.offered = true
	p.offers[best.teller]++
	c := best.Candidate
	return &c, 0, nil
}

// before orders offers: those of the teller that had the fewest, those
// never tried, those that a URL names, then as they came.
func (p *pool) before(a, b *entry) bool {
	if x, y := p.offers[a.teller], p.offers[b.teller]; x != y {
		return x < y
	}
	if fresh := a.notBefore.IsZero(); fresh != b.notBefore.IsZero() {
		return fresh
	}
	if named := a.URL != ""; named != (b.URL != "") {
		return named
	}
	return a.order < b.order
}
