package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// begin starts f and returns how to wait for its end.
func begin(f func()) (wait func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return func() { <-done }
}

// step runs f as one step of the boot: PID 1 hears how long it took and
// how it ended. A step that does not end by its deadline is an error even
// if it never comes back; the process ends soon after.
func step[T any](ctx context.Context, w *worker, name string, deadline time.Duration, f func(context.Context) (T, string, error)) (T, error) {
	type result struct {
		value  T
		detail string
		err    error
	}

	if deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}

	start := w.sys.Now()
	done := make(chan result, 1)
	go func() {
		w.faults.At(name)
		value, detail, err := f(ctx)
		done <- result{value, detail, err}
	}()

	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		select { // f may be about to say why
		case r = <-done:
		case <-time.After(time.Second):
			r.err = fmt.Errorf("%s: no end after %s: %w", name, deadline, ctx.Err())
		}
	}
	if errors.Is(r.err, context.Canceled) {
		return r.value, r.err // called off, not failed: nobody needs to know
	}

	record := wire.Record{Kind: wire.KindStep, Name: name, Text: r.detail, Start: start, Duration: w.sys.Now() - start, Code: codes.Of(r.err)}
	if err := w.conn.Send(record); err != nil {
		return r.value, err
	}
	return r.value, r.err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
