package daemon

import (
	"context"
	"log/slog"
	"strconv"
	"time"
)

// A watchdog tells systemd that we live while the store answers, so that a
// server that hangs is started again: sd_watchdog_enabled(3).
type watchdog struct {
	every   time.Duration // after so long without a word systemd acts
	answers func() error  // of the store
	tell    func(state string)
	log     *slog.Logger
}

// run speaks three times as often as it must, until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	answered := make(chan error, 1)
	for asked := false; ; {
		if !asked { // one question at a time: a store that hangs must not collect goroutines
			asked = true
			go func() { answered <- w.answers() }()
		}
		turn := time.After(w.every / 3)
		select {
		case err := <-answered:
			if asked = false; err == nil {
				w.tell("WATCHDOG=1")
			} else {
				w.log.Error("the store does not answer; if this goes on, systemd restarts the server", "err", err)
			}
			select {
			case <-turn:
			case <-ctx.Done():
			}
		case <-turn:
		case <-ctx.Done():
		}

		if ctx.Err() != nil {
			return
		}
	}
}

// watchdogTime is after how long without a word systemd acts.
func watchdogTime(env func(string) string, pid int) (time.Duration, bool) {
	usec, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec < 3000 {
		return 0, false
	}
	if of := env("WATCHDOG_PID"); of != "" && of != strconv.Itoa(pid) {
		return 0, false
	}
	return time.Duration(usec) * time.Microsecond, true
}
