package discover

import (
	"net/netip"
	"time"
)

// Bounds of answers that go to one address alone. An answer is several times
// as long as the question, whose source anybody on the link can forge: without
// a bound a responder sends them as fast as it is asked, at whom the asker
// likes. A machine that boots asks so once on a link; several programs on one
// machine share its address.
const (
	unicastBurst = 32
	unicastEvery = time.Second / 8 // one more
	maxAskers    = 1024
)

// unicasts are the addresses that were answered alone, with the time at which
// each will have its whole burst again.
type unicasts map[netip.Addr]time.Time

// take tells whether an address may be answered alone once more. When too
// many addresses are remembered, one more may not.
func (u unicasts) take(a netip.Addr, now time.Time) bool {
	whole, known := u[a]
	if !known && len(u) >= maxAskers && !u.forget(now) {
		return false
	}
	if whole.Before(now) {
		whole = now
	}
	if whole = whole.Add(unicastEvery); whole.Sub(now) > unicastBurst*unicastEvery {
		return false
	}
	u[a] = whole
	return true
}

// forget drops the addresses that have their whole burst, and tells whether
// there is room then.
func (u unicasts) forget(now time.Time) bool {
	for a, whole := range u {
		if !whole.After(now) {
			delete(u, a)
		}
	}
	return len(u) < maxAskers
}
