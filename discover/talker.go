package discover

import (
	"context"
	"sync"
	"time"
)

// A talker is a speaker that runs.
type talker struct {
	cancel  context.CancelFunc
	link    Interface
	version int
	updates chan Interface
}

// reconcile starts a speaker for each link and IP version, stops those of
// links that are gone, and tells the others what has changed.
func (r *Responder) reconcile(ctx context.Context, running map[browserKey]*talker, wg *sync.WaitGroup) {
	r.mu.Lock()
	links, version := r.links, r.version
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

	for key, t := range running {
		if l, ok := wanted[key]; !ok || t.link.Name != l.Name {
			t.cancel()
			delete(running, key)
		}
	}

	for key, l := range wanted {
		if t := running[key]; t != nil {
			t.tell(l, version)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		t := &talker{cancel, l, version, make(chan Interface, 1)}
		running[key] = t
		wg.Go(func() { r.work(ctx, l, key.way == mdns6, t.updates) })
	}
}

// tell replaces the update that waits, if one does.
func (t *talker) tell(l Interface, version int) {
	if t.link.equal(l) && t.version == version {
		return
	}
	t.link, t.version = l, version
	select {
	case <-t.updates:
	default:
	}
	t.updates <- l
}

// work speaks on a link until ctx ends. What fails is tried again.
func (r *Responder) work(ctx context.Context, l Interface, v6 bool, updates <-chan Interface) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, lastInterval) {
		err := r.speak(ctx, l, v6, updates)
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("cannot answer mDNS on this link; trying again", "link", l.Name, "ipv6", v6, "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case l = <-updates:
		case <-time.After(jitter(wait)):
		}
	}
}
