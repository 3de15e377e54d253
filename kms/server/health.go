package server

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Probes: how often it is tried whether the store still takes writes, when
// nothing else was written, and when the last write failed.
const (
	probeEvery  = 30 * time.Second
	probeFailed = 2 * time.Second
)

// health is what is known of the store: without it there is no audit, and
// without audit no release.
type health struct {
	mu      sync.Mutex
	written time.Time // last success
	err     error     // of the last write
	failed  chan struct{}
}

// wrote notes how a write to the store ended.
func (s *Server) wrote(err error) {
	h := &s.health
	h.mu.Lock()
	before := h.err
	if h.err = err; err == nil {
		h.written = time.Now()
	}

	h.mu.Unlock()
	switch {
	case err != nil && before == nil:
		s.log.Error("nothing is released: the store takes no writes", "err", err)
		select {
		case h.failed <- struct{}{}:
		default:
		}
	case err == nil && before != nil:
		s.log.Info("the store takes writes again")
	}
}

func (h *health) last() (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written, h.err
}

// Healthy says why nothing can be released: what the last write said, at
// most half a minute ago while Watch runs. It costs nothing.
func (s *Server) Healthy() error {
	if _, err := s.health.last(); err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	return nil
}

// Ready reads the store and says why nothing can be released.
func (s *Server) Ready() error {
	if err := s.Answers(); err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	return s.Healthy()
}

// Watch tries the store now and then, until ctx ends.
func (s *Server) Watch(ctx context.Context) {
	for {
		written, err := s.health.last()
		wait := probeFailed
		if err == nil {
			wait = time.Until(written.Add(probeEvery))
		}

		select {
		case <-ctx.Done():
			return
		case <-s.health.failed:
			continue // from now on, more often
		case <-time.After(max(wait, 0)):
		}

		if again, _ := s.health.last(); again == written { // nobody else wrote
			s.update(ctx, func(*txn) error { return nil })
		}
	}
}
