package netup_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/plan"
	"latchkey/netup"
)

// A state is the last update that Run told.
type state struct {
	mu    sync.Mutex
	links []netup.Link
}

func (s *state) link(name string) netup.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.Name == name {
			return l
		}
	}
	return netup.Link{}
}

// addrs are the IPv4 addresses of a link, as text.
func (s *state) addrs(name string) string {
	var out []string
	for _, a := range s.link(name).Addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// fake runs a test with netup on a fake kernel, on a clock of its own.
func fake(t *testing.T, k func() *fakeKernel, settings plan.Net, test func(t *testing.T, ctx context.Context, k *fakeKernel, s *state)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		kernel, s := k(), &state{}
		done := make(chan error)
		go func() {
			done <- netup.Run(ctx, kernel, settings, logger(t), func(l []netup.Link) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.links = l
			})
		}()

		test(t, ctx, kernel, s)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if kernel.after != nil {
			kernel.after()
		}

		for _, lan := range kernel.lans {
			lan.Close()
		}
		time.Sleep(time.Hour) // whatever sleeps wakes and sees that it is over
	})
}

// one is a kernel with one link.
func one() *fakeKernel { return newKernel(eth(1)) }
