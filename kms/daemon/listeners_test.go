package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a server with an exchange that does not end.
type stuck struct {
	closed bool
	err    error
}

func (s *stuck) Serve() error { return nil }
func (s *stuck) Close() error { s.closed = true; return nil }
func (s *stuck) Shutdown(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	<-ctx.Done()
	return ctx.Err()
}

// What does not end in time is cut off, and that is no failure; another
// error is one.
func TestShutdownCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := &stuck{}, time.Now()
		var log bytes.Buffer
		f := &listeners{all: []listener{{addr: &net.TCPAddr{}, answering: s}}}
		if err := f.shutdown(slog.New(slog.NewTextHandler(&log, nil))); err != nil || !s.closed || !strings.Contains(log.String(), "cut off") {
			t.Errorf("shutdown = %v, closed %v, log %q, want it cut off", err, s.closed, log.String())
		}
		if took := time.Since(began); took != shutdownWait {
			t.Errorf("shutdown took %v, want %v", took, shutdownWait)
		}
		broken := errors.New("broken")
		f.all[0].answering = &stuck{err: broken}
		if err := f.shutdown(slog.New(slog.DiscardHandler)); !errors.Is(err, broken) {
			t.Errorf("shutdown = %v, want %v", err, broken)
		}
	})
}
