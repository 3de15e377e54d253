package server

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

// workers bound the public-key work to the cores: more at once would only
// make all of it late.
type workers struct {
	slots chan struct{}
	queue chan struct{}
}

func newWorkers(n int) *workers {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return &workers{make(chan struct{}, n), make(chan struct{}, maxQueue)}
}

// errBusy: the queue is full, or no worker was free in time.
var errBusy = errors.New("too much work at once")

// do runs f on a worker. It must not wait for the disk: those who wait for
// it do so together, not one by one.
func (w *workers) do(ctx context.Context, f func() error) error {
	if err := w.enter(ctx); err != nil {
		return err
	}
	defer func() { <-w.slots }()
	return f()
}

func (w *workers) enter(ctx context.Context) error {
	select {
	case w.slots <- struct{}{}:
		return nil
	default:
	}

	select {
	case w.queue <- struct{}{}:
		defer func() { <-w.queue }()
	default:
		return errBusy
	}

	timer := time.NewTimer(queueWait)
	defer timer.Stop()
	select {
	case w.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return errBusy
	}
}
