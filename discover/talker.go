package discover

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// reconcile starts a speaker for each link and IP version, stops those of
// links that are gone, starts those anew whose names have changed, and
// tells the others of their link's addresses.
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
		if l, ok := wanted[key]; !ok || t.version != version || t.name != l.Name {
			t.cancel()
			delete(running, key)
		}
	}

	for key, l := range wanted {
		if t := running[key]; t != nil {
			t.tell(l)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		t := &talker{cancel, version, l.Name, make(chan Interface, 1)}
		running[key] = t
		wg.Go(func() { r.work(ctx, l, key.way == mdns6, t.updates) })
	}
}

// tell replaces the update that waits, if one does.
func (t *talker) tell(l Interface) {
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
		r.log.Warn("answering on a link", "link", l.Name, "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case l = <-updates:
		case <-time.After(jitter(wait)):
		}
	}
}

// nextHost makes kms-2.local of kms.local, and kms-3.local of that.
func nextHost(host string) string {
	first, rest, _ := strings.Cut(host, ".")
	base, n := counted(first, "-", "")
	return fmt.Sprintf("%s-%d.%s", base[:min(len(base), 58)], n+1, rest)
}

// nextInstance makes "kms (2)" of "kms": RFC 6763, appendix D.
func nextInstance(label string) string {
	base, n := counted(label, " (", ")")
	return fmt.Sprintf("%s (%d)", base[:min(len(base), 56)], n+1)
}

// counted takes a number off the end of a name; without one it is 1.
func counted(name, before, after string) (string, int) {
	rest, ok := strings.CutSuffix(name, after)
	i := strings.LastIndex(rest, before)
	if !ok || i <= 0 {
		return name, 1
	}
	n, err := strconv.Atoi(rest[i+len(before):])
	if err != nil || n < 2 || n > 9999 {
		return name, 1
	}
	return name[:i], n
}
