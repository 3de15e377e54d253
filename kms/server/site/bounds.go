package site

import (
	"fmt"
	"sync"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// An age measures how long ago the center was heard: by the clock that only
// runs, and by the one on the wall, whichever went further. While nothing
// runs there is only the latter: a server that starts at an earlier time than
// it has seen does not know, until the clock is right or the center is heard.
type age struct {
	mu    sync.Mutex
	began time.Time     // when this process first looked, with a monotonic reading; zero: it has not
	base  time.Duration // how long ago it was heard then
}

// of takes what has passed as of now into c, and says whether it is known. It
// may be called again for a transaction that did not count.
func (a *age) of(c *cut, wall time.Time) (known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wall = wall.Round(0)
	passed := c.Spent + wall.Sub(c.Seen)
	if a.began.IsZero() {
		if wall.Before(c.Seen) {
			return false
		}
		a.began, a.base = time.Now(), passed
	}
	c.Spent = max(c.Spent, passed, a.base+time.Since(a.began))
	if wall.After(c.Seen) {
		c.Seen = wall
	}
	return true
}

// renew begins anew: the center was heard.
func (a *age) renew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.began, a.base = time.Now(), 0
}

// Holds implements lk1.Bound.
func (f *Follower) Holds(t *ledger.Txn, node kms.NodeID) (string, error) {
	self, _, err := SelfOf(t.View)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	now := f.wire
	f.mu.Unlock()
	if now != wireCut || self.Removed || self.Refused != "" {
		return "the key server's center decides: ask again", nil
	}
	if !t.View.Has(tableSelf, keyOf(prefixHave, node)) {
		return cutWords(self) + "it has no copy of this machine's keys", nil
	}
	c, err := loadCut(t.View)
	if err != nil {
		return "", err
	}
	if !f.age.of(&c, f.ledger.Wall()) {
		return cutWords(self) + "its clock was set back, so it cannot tell for how long", nil
	}
	given, err := givenTo(t.View, node)
	return c.over(self, given), err
}

func cutWords(self Self) string {
	return fmt.Sprintf("the server of site %s cannot reach the center: ", self.Name)
}

// over says which bound there is no room in for one more.
func (c *cut) over(self Self, given int) string {
	b := self.Bounds
	switch {
	case c.Spent >= time.Duration(b.Offline):
		return cutWords(self) + fmt.Sprintf("it has not heard of it for %s, and goes on for %s", policy.Duration(c.Spent.Truncate(time.Minute)), b.Offline)
	case given >= b.Releases:
		return cutWords(self) + fmt.Sprintf("this machine got its keys %d times since", given)
	case given == 0 && c.Machines >= b.Machines:
		return cutWords(self) + fmt.Sprintf("%d other machines got their keys since", c.Machines)
	case c.Releases >= b.InAll:
		return cutWords(self) + fmt.Sprintf("keys were given %d times since", c.Releases)
	}
	return ""
}

// Gave implements lk1.Bound.
func (f *Follower) Gave(t *ledger.Txn, node kms.NodeID) error {
	c, err := loadCut(t.View)
	if err != nil {
		return err
	}
	given, err := givenTo(t.View, node)
	if err != nil {
		return err
	}
	f.age.of(&c, f.ledger.Wall())
	if given == 0 {
		c.Machines++
	}
	c.Releases++
	if err := setGiven(t, node, given+1); err != nil {
		return err
	}
	return t.Save(tableSelf, keyCut, c)
}

// renew begins to count again: the center has heard of all that was given.
func (f *Follower) renew(t *ledger.Txn) error {
	for _, id := range keysOf(t.View, prefixGiven) {
		if err := t.Remove(tableSelf, keyOf(prefixGiven, id)); err != nil {
			return err
		}
	}
	now := f.ledger.Wall().Round(0)
	return t.Save(tableSelf, keyCut, cut{Heard: now, Seen: now})
}
