package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A store that fails or hangs leaves systemd without a word; one that
// answers again does not.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing, hanging atomic.Bool
		var told atomic.Int64
		hang := make(chan bool)
		w := &watchdog{every: 30 * time.Second, log: slog.New(slog.DiscardHandler), tell: func(string) { told.Add(1) }}
		w.answers = func() error {
			if hanging.Load() {
				<-hang
			}
			if failing.Load() {
				return errors.New("damaged")
			}
			return nil
		}

		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan bool)
		go func() { w.run(ctx); close(ended) }()
		minute := func(when string, least, most int64) {
			t.Helper()
			told.Store(0)
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := told.Load(); n < least || n > most {
				t.Errorf("%s: systemd was told %d times in a minute, want %d to %d", when, n, least, most)
			}
		}

		minute("all is well", 5, 7)
		failing.Store(true)
		time.Sleep(15 * time.Second)
		minute("the store fails", 0, 0)
		failing.Store(false)
		hanging.Store(true)
		time.Sleep(15 * time.Second)
		minute("the store hangs", 0, 0)
		hanging.Store(false)
		close(hang)
		minute("it answers again", 5, 7)
		stop()
		<-ended
	})
}
