package ledger

import (
	"sync/atomic"
	"time"
)

// A Clock is the age of the process: a wall clock that is set back must not
// make what was spent good again. Where key servers share a store it is the
// wall clock's time at start, and goes on from there.
type Clock struct {
	start time.Time
	base  time.Duration // what Now was at start
	step  atomic.Int64  // of the wall clock, in tests
}

func (c *Clock) begin(shared bool) {
	c.start = time.Now()
	if shared {
		c.base = time.Duration(c.start.UnixNano())
	}
}

// Now is the time on the clock.
func (c *Clock) Now() time.Duration { return c.base + time.Since(c.start) }

// Wall is the wall clock's time.
func (c *Clock) Wall() time.Time { return time.Now().Add(time.Duration(c.step.Load())) }

// Jump is how far the wall clock has gone ahead of, or fell behind, the time
// that passed since the process began: it was set.
func (c *Clock) Jump() time.Duration {
	return (c.Wall().Round(0).Sub(c.start.Round(0)) - time.Since(c.start)).Round(time.Second)
}

// Step moves the wall clock, as a time server does: for tests.
func (c *Clock) Step(by time.Duration) { c.step.Add(int64(by)) }

// Skew moves the clock, as another host's is: for tests of what replicas
// have to agree on.
func (c *Clock) Skew(by time.Duration) { c.base += by }
