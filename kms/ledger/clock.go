package ledger

import "time"

// A Clock is the age of the process: a wall clock that is set back must not
// make what was spent good again. Where key servers share a store it is the
// wall clock's time at start, and goes on from there.
type Clock struct {
	start time.Time
	base  time.Duration // what Now was at start
}

func newClock(shared bool) Clock {
	c := Clock{start: time.Now()}
	if shared {
		c.base = time.Duration(c.start.UnixNano())
	}
	return c
}

// Now is the time on the clock.
func (c *Clock) Now() time.Duration { return c.base + time.Since(c.start) }

// Skew moves the clock, as another host's is: for tests of what replicas
// have to agree on.
func (c *Clock) Skew(by time.Duration) { c.base += by }
