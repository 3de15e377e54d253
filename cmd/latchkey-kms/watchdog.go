package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"time"
)

// watchdog tells systemd that we live while the store answers, until ctx
// ends: sd_watchdog_enabled(3). A server that hangs is started again.
func watchdog(ctx context.Context, answers func() error, log *slog.Logger) {
	every, ok := watchdogTime(os.Getenv, os.Getpid())
	if !ok {
		return
	}
	answered := make(chan error, 1)
	for asked := false; ; {
		if !asked { // one question at a time: a store that hangs must not collect goroutines
			asked = true
			go func() { answered <- answers() }()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every / 3):
			continue
		case err := <-answered:
			if asked = false; err == nil {
				notify("WATCHDOG=1")
			} else {
				log.Error("the store does not answer; the watchdog is not told that all is well", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every / 3):
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
