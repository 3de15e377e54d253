package attest_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/server/attest"
)

// D7: one worker and its queue take 2,049 requests; the others are put off
// at once, and so are those that would wait for longer than 10 s.
func TestWorkers(t *testing.T) {
	for _, row := range []struct {
		name      string
		each      time.Duration
		done, put int64
	}{
		{"the queue is full", time.Millisecond, 2049, 1951},
		{"the work is slow", 900 * time.Millisecond, 12, 3988},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := attest.NewWorkers(1)
				var done, put atomic.Int64
				var group sync.WaitGroup
				for range 4000 {
					group.Go(func() {
						switch err := w.Do(t.Context(), func() error { time.Sleep(row.each); return nil }); {
						case err == nil:
							done.Add(1)
						case errors.Is(err, attest.ErrBusy):
							put.Add(1)
						}
					})
				}
				group.Wait()
				if done.Load() != row.done || put.Load() != row.put {
					t.Errorf("%d were done and %d put off, want %d and %d", done.Load(), put.Load(), row.done, row.put)
				}
			})
		})
	}
}
