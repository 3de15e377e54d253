package discover

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/discover/dns"
)

// maxAnnouncements caps what one responder answers for: all of it goes
// into one packet when it is announced.
const maxAnnouncements = 16

// Renaming slows down after quickConflicts, so that a machine that
// objects to every name does not make a storm: RFC 6762, section 8.1.
const (
	quickConflicts = 15
	slowConflict   = 5 * time.Second
)

// A Responder answers multicast DNS for key servers, on all links that it
// is told of: RFC 6762 and RFC 6763.
type Responder struct {
	sockets Sockets
	log     *slog.Logger

	mu        sync.Mutex
	all       []Announcement
	links     []Interface
	conflicts int
	version   int // of the names: grows with each conflict
	wake      chan struct{}

	queries, answers, challenges atomic.Int64
	complained                   time.Time // of a challenge, in the log
}

// Stats count what a Responder has done.
type Stats struct {
	Queries    int64 // heard
	Answers    int64 // messages sent: answers, announcements, goodbyes
	Conflicts  int64 // names changed, because another machine had them first
	Challenges int64 // records of other machines that said something else of our names
	Links      int   // answered on
}

// Stats returns the counters now.
func (r *Responder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{r.queries.Load(), r.answers.Load(), int64(r.conflicts), r.challenges.Load(), len(r.links)}
}

// NewResponder checks the announcements. It opens nothing yet.
func NewResponder(all []Announcement, s Sockets, log *slog.Logger) (*Responder, error) {
	r := &Responder{sockets: s, log: log, wake: make(chan struct{}, 1)}
	return r, r.Announce(all)
}

// Announce replaces what is answered for. None at all is allowed: then
// what was announced before is taken back, and nothing is answered.
func (r *Responder) Announce(all []Announcement) error {
	if len(all) > maxAnnouncements {
		return fmt.Errorf("announcing %d key servers, the limit is %d", len(all), maxAnnouncements)
	}
	var checked []Announcement

	for _, a := range all {
		if err := a.check(); err != nil {
			return fmt.Errorf("announcing %q: %w", a.Host, err)
		}
		a.Host = strings.ToLower(strings.TrimSuffix(a.Host, "."))
		if a.Instance == "" {
			a.Instance, _, _ = strings.Cut(a.Host, ".")
		}
		checked = append(checked, a)
	}

	r.mu.Lock()
	r.all = checked
	r.mu.Unlock()
	r.poke()
	return nil
}

// Update tells the links that there are now. It never waits.
func (r *Responder) Update(links []Interface) {
	r.mu.Lock()
	r.links = slices.Clone(links)
	r.mu.Unlock()
	r.poke()
}

func (r *Responder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Announcements returns what is answered for now, with the names that
// conflicts led to.
func (r *Responder) Announcements() []Announcement {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *Responder) zone(l Interface) zone { return newZone(r.Announcements(), l) }

// owns tells whether an address is this machine's.
func (r *Responder) owns(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		for _, p := range l.Addrs {
			if p.Addr().WithZone("") == a {
				return true
			}
		}
	}
	return false
}

// complainEvery is how often a challenge is logged.
const complainEvery = time.Minute

// challenge counts, and says now and then, that another machine uses a
// name of ours.
func (r *Responder) challenge(name dns.Name) {
	r.challenges.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.complained) > complainEvery {
		r.complained = time.Now()
		r.log.Warn("another machine says something else of our name; keeping it", "name", string(name))
	}
}

// conflict gives the announcements with a name another one: RFC 6762,
// section 9. It does nothing if the name has been changed meanwhile.
func (r *Responder) conflict(name dns.Name, seen zone) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for i, a := range r.all {
		switch label, service := name.Cut(); {
		case name.Equal(dns.Name(a.Host)):
			r.all[i].Host = nextHost(a.Host)
			r.log.Warn("another machine has our host name", "name", a.Host, "now", r.all[i].Host)
			changed = true
		case label == a.Instance && slices.ContainsFunc(a.Services, func(s string) bool { n, _ := serviceName(s); return n.Equal(service) }):
			r.all[i].Instance = nextInstance(a.Instance)
			r.log.Warn("another machine has our service name", "name", a.Instance, "now", r.all[i].Instance)
			changed = true
		}
	}

	if !changed {
		return
	}
	r.conflicts++
	r.version++
	if r.conflicts > quickConflicts {
		time.AfterFunc(slowConflict, r.poke)
		return
	}

	r.poke()
}

// Run answers until ctx ends, and then says goodbye.
func (r *Responder) Run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	running := map[browserKey]*talker{}
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

// A talker is a speaker that runs.
type talker struct {
	cancel  context.CancelFunc
	version int
	name    string
	updates chan Interface
}
