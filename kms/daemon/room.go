package daemon

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"
)

// roomEvery is how often it is tried whether a full disk has room again.
const roomEvery = 2 * time.Second

// whenRoom does what writes to the disk, and while that is full says so and
// waits: a server that ended would be started again and again, each time
// verifying its database, until somebody makes room. It returns f's error,
// or that of ctx.
func whenRoom(ctx context.Context, log *slog.Logger, f func() error) error {
	for waited := false; ; waited = true {
		err := f()
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			if waited && err == nil {
				log.Info("there is room on the disk again; starting")
			}
			return err
		}
		if !waited {
			log.Error("the disk is full; waiting for room before any machine is answered", "err", err)
		}

		// The start takes longer than the unit's timeout: sd_notify(3).
		notify("EXTEND_TIMEOUT_USEC=30000000\nSTATUS=waiting for room on the disk")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(roomEvery):
		}
	}
}
