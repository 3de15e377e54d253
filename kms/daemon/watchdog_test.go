package daemon

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A store that fails or hangs leaves systemd without a word; one that
// answers again does not.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing error
		hang := make(chan bool)
		hanging, told := false, 0
		w := &watchdog{every: 30 * time.Second, log: slog.New(slog.DiscardHandler), tell: func(string) { told++ }}
		w.answers = func() error {
			if hanging {
				<-hang
			}
			return failing
		}

		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan bool)
		go func() { w.run(ctx); close(ended) }()
		minute := func(when string, least, most int) {
			t.Helper()
			told = 0
			time.Sleep(time.Minute)
			synctest.Wait()
			if told < least || told > most {
				t.Errorf("%s: systemd was told %d times in a minute, want %d to %d", when, told, least, most)
			}
		}

		minute("all is well", 5, 7)
		failing = errors.New("damaged")
		time.Sleep(15 * time.Second)
		minute("the store fails", 0, 0)
		failing, hanging = nil, true
		time.Sleep(15 * time.Second)
		minute("the store hangs", 0, 0)
		hanging = false
		close(hang)
		minute("it answers again", 5, 7)
		stop()
		<-ended
	})
}
