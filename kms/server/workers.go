package server

import (
	"context"
	"runtime"
	"time"
)

// queueWait is how long a request waits for a worker before it is told to
// come back: well within the exchange's 20 seconds.
const queueWait = 10 * time.Second

// workers bound the public-key work to the cores: more at once would only
// make all of it late.
type workers struct{ slots chan struct{} }

func newWorkers(n int) *workers {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	// A redeem spends most of its time waiting for the disk, and shares
	// that wait with others.
	return &workers{make(chan struct{}, 64*n)}
}

// enter waits for a worker; false means that none was free in time.
func (w *workers) enter(ctx context.Context) (release func(), ok bool) {
	release = func() { <-w.slots }
	select {
	case w.slots <- struct{}{}:
		return release, true
	default:
	}
	timer := time.NewTimer(queueWait)
	defer timer.Stop()
	select {
	case w.slots <- struct{}{}:
		return release, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, false
}

// reached marks the request's connection as one that is being worked on.
func reached(ctx context.Context) {}
