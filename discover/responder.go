package discover

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/discover/dns"
)

// maxAnnouncements caps what one responder answers for.
const maxAnnouncements = 16

// A Responder answers multicast DNS for key servers, on all links that it
// is told of: RFC 6762 and RFC 6763.
type Responder struct {
	sockets Sockets
	log     *slog.Logger
	wake    chan struct{}

	mu    sync.Mutex
	all   []Announcement // as they were asked for
	links []Interface
	names names
	// version grows with each change of what is said or how.
	version int

	queries, answers, challenges, limited atomic.Int64
	complained                            time.Time // of a challenge, in the log
	said                                  said
}

// Stats count what a Responder has done.
type Stats struct {
	Queries    int64 // heard
	Answers    int64 // messages sent: answers, announcements, goodbyes
	Conflicts  int64 // names changed, because another machine had them first
	Challenges int64 // records of other machines that said something else of our names
	Limited    int64 // questions of one address that were too many to answer it alone
	Links      int   // answered on
}

// Stats returns the counters now.
func (r *Responder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{r.queries.Load(), r.answers.Load(), int64(r.names.conflicts), r.challenges.Load(), r.limited.Load(), len(r.links)}
}

// NewResponder checks the announcements. It opens nothing yet.
func NewResponder(all []Announcement, s Sockets, log *slog.Logger) (*Responder, error) {
	r := &Responder{sockets: s, log: log, wake: make(chan struct{}, 1), names: newNames(), said: newSaid()}
	return r, r.Announce(all)
}

// Announce replaces what is answered for. None at all is allowed: then
// what was announced before is taken back, and nothing is answered.
func (r *Responder) Announce(all []Announcement) error {
	checked, err := checkAll(all)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.all = checked
	r.version++
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
	return r.names.apply(r.all)
}

func (r *Responder) zone(l Interface) zone {
	r.mu.Lock()
	defer r.mu.Unlock()
	return newZone(r.names.apply(r.all), l, r.names.common)
}

// owns tells whether an address is this machine's.
func (r *Responder) owns(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.links, func(l Interface) bool { return l.owns(a) })
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
		r.log.Warn("another machine also claims this name; keeping it and answering again", "name", string(name))
	}
}

// A said remembers what a Responder has sent, on any link, so that its own
// packets, which the kernel hands back to it, are not taken for those of
// another program on this machine.
type said struct {
	mu   *sync.Mutex
	seed maphash.Seed
	at   map[uint64]time.Time
}

// A packet comes back at once; saidTime is generous.
const (
	saidTime = 5 * time.Second
	maxSaid  = 1024
)

func newSaid() said { return said{&sync.Mutex{}, maphash.MakeSeed(), map[uint64]time.Time{}} }

func (s said) note(packet []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.at) >= maxSaid {
		for k, at := range s.at {
			if now.Sub(at) > saidTime {
				delete(s.at, k)
			}
		}
	}
	s.at[maphash.Bytes(s.seed, packet)] = now
}

func (s said) has(packet []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[maphash.Bytes(s.seed, packet)]
	return ok && time.Since(at) <= saidTime
}
