package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"latchkey/internal/cli"
	"latchkey/kms/home"
	"latchkey/kms/wrapping"
)

// Tries to get a wrapping key that is away: soon at first, for a host whose
// network comes up after us, then so often that nobody waits long.
const (
	firstTry = time.Second
	lastTry  = 30 * time.Second
)

// unwrap gets the wrapping key. While it is away it answers machines that
// the server is sealed, and monitoring and systemd too; the sockets that it
// opened for that are for those who answer next.
func (d *Daemon) unwrap(ctx context.Context) (home.Keys, sockets, error) {
	keys, err := d.Home.Unwrap(ctx)
	if !errors.Is(err, wrapping.ErrAway) {
		return keys, nil, corrected(err)
	}
	gather, unknown := d.Home.Gather()
	if unknown != nil {
		return nil, nil, unknown
	}
	if up, err := d.Home.Running(ctx); err != nil || up {
		return nil, nil, errors.Join(err, fmt.Errorf("another server runs on %s", d.Home.Data))
	}
	why := &atomic.Pointer[string]{}
	said := err.Error()
	why.Store(&said)
	seal, err2 := d.listenSealed(why, gather)
	if err2 != nil {
		return nil, nil, err2
	}

	live, stop := context.WithCancel(ctx)
	defer stop()
	go watch(live, func() error { return nil }, d.log)
	d.saySealed(err)
	for wait := firstTry; errors.Is(err, wrapping.ErrAway); wait = min(2*wait, lastTry) {
		if said := err.Error(); *why.Load() != said {
			why.Store(&said)
			d.saySealed(err)
		}
		select {
		case <-ctx.Done():
			seal.close()
			return nil, nil, ctx.Err()
		case err := <-seal.failed:
			seal.close()
			return nil, nil, err
		case <-seal.whole():
			keys, d.givers, err = seal.keys()
			continue
		case <-time.After(wait):
		}
		if seal.gather != nil { // people come when they come
			seal.gather.Expire()
			continue
		}
		keys, err = d.Home.Unwrap(ctx)
	}
	if err != nil {
		seal.close()
		return nil, nil, corrected(err)
	}
	d.log.Info("the wrapping key is here; starting")
	return keys, seal.sockets, nil
}

// saySealed says it once for each reason. The unit is ready: what it waits
// for may take days.
func (d *Daemon) saySealed(err error) {
	d.log.Warn("sealed: machines are told to come back", "err", err)
	notify("READY=1\nSTATUS=sealed: " + err.Error())
}

// corrected gives an error that only a person ends the exit code after which
// the unit does not start us again: a token locks itself after a few tries.
func corrected(err error) error {
	if errors.Is(err, wrapping.ErrRefused) {
		return &cli.Exit{Code: cli.Usage, Err: err}
	}
	return err
}

// watch runs the watchdog, if systemd wants one.
func watch(ctx context.Context, answers func() error, log *slog.Logger) {
	if every, ok := watchdogTime(os.Getenv, os.Getpid()); ok {
		(&watchdog{every, answers, notify, log}).run(ctx)
	}
}
