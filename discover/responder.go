package discover

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxAnnouncements caps what one responder answers for: all of it goes
// into one packet when it is announced.
const maxAnnouncements = 16

// A Responder answers multicast DNS for key servers, on all links that it
// is told of: RFC 6762 and RFC 6763.
type Responder struct {
	sockets Sockets
	log     *slog.Logger

	mu    sync.Mutex
	all   []Announcement
	links []Interface
	wake  chan struct{}
}

// NewResponder checks the announcements. It opens nothing yet.
func NewResponder(all []Announcement, s Sockets, log *slog.Logger) (*Responder, error) {
	if len(all) == 0 || len(all) > maxAnnouncements {
		return nil, fmt.Errorf("announcing %d key servers, want 1 to %d", len(all), maxAnnouncements)
	}
	r := &Responder{sockets: s, log: log, wake: make(chan struct{}, 1)}
	for _, a := range all {
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("announcing %q: %w", a.Host, err)
		}
		a.Host = strings.ToLower(strings.TrimSuffix(a.Host, "."))
		r.all = append(r.all, a)
	}
	return r, nil
}

// Update tells the links that there are now. It never waits.
func (r *Responder) Update(links []Interface) {
	r.mu.Lock()
	r.links = slices.Clone(links)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run answers until ctx ends, and then says goodbye.
func (r *Responder) Run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	running := map[browserKey]*worker{}
	defer func() {
		for _, w := range running {
			w.cancel()
		}
	}()
	for {
		r.reconcile(ctx, running, &workers)
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
	}
}

// reconcile starts a speaker for each link and IP version, and stops those
// of links that are gone or have changed.
func (r *Responder) reconcile(ctx context.Context, running map[browserKey]*worker, wg *sync.WaitGroup) {
	r.mu.Lock()
	links := r.links
	r.mu.Unlock()
	wanted := map[browserKey]Interface{}
	for _, l := range links {
		if l.has(false) {
			wanted[browserKey{l.Index, mdns4}] = l
		}
		if l.has(true) {
			wanted[browserKey{l.Index, mdns6}] = l
		}
	}
	for key, w := range running {
		if l, ok := wanted[key]; !ok || !l.equal(w.link) {
			w.cancel()
			delete(running, key)
		}
	}
	for key, l := range wanted {
		if running[key] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		running[key] = &worker{l, cancel}
		wg.Go(func() { r.work(ctx, l, key.way == mdns6) })
	}
}

func (r *Responder) work(ctx context.Context, l Interface, v6 bool) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, lastInterval) {
		err := r.speak(ctx, l, v6)
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("answering on a link", "link", l.Name, "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(jitter(wait)):
		}
	}
}
