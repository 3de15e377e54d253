package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/discover"
	"latchkey/internal/cli"
)

// lookEvery is how often the targets file is looked at.
const lookEvery = 2 * time.Second

// A service is the responder with what it announces.
type service struct {
	o       options
	log     *slog.Logger
	r       *discover.Responder
	health  *health
	started time.Time

	links links

	mu      sync.Mutex
	targets []target
	why     string // there are none
}

// run answers until parent ends.
func run(parent context.Context, o options, log *slog.Logger) error {
	r, err := discover.NewResponder(nil, discover.System{}, log)
	if err != nil {
		return err
	}

	s := &service{o: o, log: log, r: r, started: time.Now(), links: links{names: o.interfaces, log: log}}
	s.health = newHealth(o.check, o.every, s.links.addrs, log)
	s.health.changed = func() { s.announce() }
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if err := s.start(ctx, cancel); err != nil {
		return err
	}

	go func() {
		if err := discover.WatchInterfaces(ctx, o.interfaces, s.update); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("watching links: %w", err))
		}
	}()

	if err := notify("READY=1"); err != nil {
		log.Warn("cannot notify the service manager", "error", err)
	}
	r.Run(ctx)
	if parent.Err() == nil {
		return context.Cause(ctx)
	}

	log.Info("stopped")
	return nil
}

// start reads the targets for the first time, and follows them.
func (s *service) start(ctx context.Context, fail context.CancelCauseFunc) error {
	if s.o.listen != "" {
		if err := s.serve(ctx, fail); err != nil {
			return err
		}
	}

	k, err := s.o.parseKubes()
	switch {
	case err != nil:
		return cli.Usagef("%w", err)
	case k != nil:
		if err := k.connect(s.o); err != nil {
			return err
		}
		go k.follow(ctx, s.log, func(t []target, why string) { s.replace(ctx, t, why) })
		s.log.Info("answering multicast DNS", "hosts", strings.Join(s.o.hosts, ","), "targets_from", k.String())
		return nil
	case s.o.file != "":
		t, err := readTargets(s.o.file, strings.Join(s.o.services, ","))
		if err == nil {
			err = s.set(ctx, t)
		}
		if err != nil {
			return cli.Usagef("%w", err)
		}
		go s.followFile(ctx)
	default:
		t, err := s.o.fixed()
		if err == nil {
			err = s.set(ctx, t)
		}
		if err != nil {
			return cli.Usagef("%w", err)
		}
	}

	s.log.Info("answering multicast DNS", "targets", len(s.targets), "services", strings.Join(s.o.services, ","))
	return nil
}

// set replaces the targets, if they can be announced at all.
func (s *service) set(ctx context.Context, targets []target) error {
	everything := s.o.announcements(targets, func(netip.AddrPort) bool { return true })
	if _, err := discover.NewResponder(everything, discover.System{}, s.log); err != nil {
		return err
	}
	s.mu.Lock()
	s.targets = targets
	s.mu.Unlock()
	s.health.watch(ctx, targets)
	s.announce()
	return nil
}

// replace is set for targets that come while it runs. Why says why there are
// none.
func (s *service) replace(ctx context.Context, targets []target, why string) {
	if err := s.set(ctx, targets); err != nil {
		s.log.Error("the new targets are refused; keeping the old ones", "error", err)
		return
	}
	s.mu.Lock()
	s.why = why
	s.mu.Unlock()
	if why != "" {
		s.log.Warn("nothing to announce", "reason", why)
		return
	}

	var texts []string
	for _, t := range targets {
		texts = append(texts, text(t.addr))
	}
	s.log.Info("targets changed", "targets", strings.Join(slices.Compact(texts), ","))
}

// update follows the links.
func (s *service) update(now []discover.Interface) {
	s.links.update(now)
	s.r.Update(now)
}

// announce tells the responder which targets are alive.
func (s *service) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.r.Announce(s.o.announcements(s.targets, s.health.alive)); err != nil {
		s.log.Error("cannot announce the targets", "error", err)
	}
}

// followFile reads the targets file again when it has changed. A file that
// is wrong changes nothing.
func (s *service) followFile(ctx context.Context) {
	last, _ := os.Stat(s.o.file)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}

		now, err := os.Stat(s.o.file)
		if err != nil || last != nil && os.SameFile(last, now) && last.ModTime().Equal(now.ModTime()) && last.Size() == now.Size() {
			continue
		}

		last = now
		t, err := readTargets(s.o.file, strings.Join(s.o.services, ","))
		if err != nil {
			s.log.Error("cannot read the targets file; keeping the old targets", "error", err)
			continue
		}

		s.replace(ctx, t, "")
	}
}
