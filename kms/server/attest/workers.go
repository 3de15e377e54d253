package attest

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// maxQueue is how many requests may wait for a worker, and queueWait how
// long: well within the exchange's 20 seconds.
const (
	maxQueue  = 2048
	queueWait = 10 * time.Second
)

// Workers bound the public-key work to the cores: more at once would only
// make all of it late.
type Workers struct {
	slots chan struct{}
	queue chan struct{}
}

// NewWorkers makes room for n at once; 0 is the number of cores.
func NewWorkers(n int) *Workers {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return &Workers{make(chan struct{}, n), make(chan struct{}, maxQueue)}
}

// ErrBusy: the queue is full, or no worker was free in time.
var ErrBusy = errors.New("too much work at once")

// Do runs f on a worker. It must not wait for the disk: those who wait for
// it do so together, not one by one.
func (w *Workers) Do(ctx context.Context, f func() error) error {
	if err := w.enter(ctx); err != nil {
		return err
	}
	defer func() { <-w.slots }()
	return f()
}

func (w *Workers) enter(ctx context.Context) error {
	select {
	case w.slots <- struct{}{}:
		return nil
	default:
	}

	select {
	case w.queue <- struct{}{}:
		defer func() { <-w.queue }()
	default:
		return ErrBusy
	}

	timer := time.NewTimer(queueWait)
	defer timer.Stop()
	select {
	case w.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ErrBusy
	}
}
