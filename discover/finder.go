package discover

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/discover/dns"
)

// A Finder looks for a KMS on all links that it is told of, for as long
// as Run runs.
type Finder struct {
	targets  []target
	services []dns.Name
	sockets  Sockets
	log      *slog.Logger
	what     string // is looked for
	host     string // whose services count
	pool     *pool
	told     atomic.Int64 // finds so far

	mu    sync.Mutex
	links []Interface
	wake  chan struct{} // links have changed
}

// NewFinder checks the query. It opens nothing yet. The error joins an
// *EntryError for each entry that cannot be used; with what is left there is
// a Finder all the same, and none if nothing is.
func NewFinder(q Query, s Sockets, log *slog.Logger) (*Finder, error) {
	targets, services, bad := q.parse()
	if len(targets)+len(services) == 0 && len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	f := &Finder{
		targets: targets, services: services, sockets: s, log: log, what: cmp.Or(q.What, "key server"), host: strings.TrimSuffix(q.Host, "."),
		pool: newPool(), wake: make(chan struct{}, 1),
	}
	for _, t := range targets {
		if t.addr.IsValid() && t.addr.Zone() == "" && !t.addr.IsLinkLocalUnicast() {
			f.pool.add(Candidate{Addr: netip.AddrPortFrom(t.addr, t.portOr(DefaultPort)), URL: t.url, Host: t.host, Source: FromURL}, 0, netip.Addr{})
		}
	}
	return f, errors.Join(bad...)
}

// Update tells the links that there are now. It never waits.
func (f *Finder) Update(links []Interface) {
	f.mu.Lock()
	f.links = slices.Clone(links)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// loudly is how many finds are told; a flood of forged ones is not.
const loudly = 16

// found puts a candidate into the pool. From is who told of it, if that
// was by multicast.
func (f *Finder) found(c Candidate, ttl time.Duration, from netip.Addr) {
	if c.Service != "" && f.host != "" && !strings.EqualFold(strings.TrimSuffix(c.Host, "."), f.host) {
		f.log.Debug("another host's", "candidate", c.String(), "want", f.host)
		return
	}
	if !f.pool.add(c, ttl, from) {
		return
	}
	level := slog.LevelInfo
	if f.told.Add(1) > loudly {
		level = slog.LevelDebug
	}
	f.log.Log(context.Background(), level, "found a "+f.what, "candidate", c.String())
}

// Next waits for a candidate that has not been offered yet, or whose time
// aside is over. It fails only when ctx ends.
func (f *Finder) Next(ctx context.Context) (Candidate, error) { return f.pool.next(ctx) }

// SetAside says that a candidate was of no use: it is offered again, but
// not before d (AsideTime, say), and after the others.
func (f *Finder) SetAside(c Candidate, d time.Duration) { f.pool.setAside(c, d) }

// Run looks until ctx ends.
func (f *Finder) Run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	running := map[browserKey]*worker{}
	defer func() {
		for _, w := range running {
			w.cancel()
		}
	}()

	for {
		f.mu.Lock()
		links := f.links
		f.mu.Unlock()
		f.direct(links)
		f.reconcile(ctx, links, running, &workers)
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
	}
}

// browserKey is one link and one way of asking on it.
type browserKey struct {
	index int
	way   way
}

type way int

const (
	mdns4 way = iota + 1
	mdns6
	unicast // DNS servers
)

type worker struct {
	link   Interface
	cancel context.CancelFunc
}

// reconcile starts a worker for each link and way, stops those of links
// that are gone, and starts anew where the link's addresses have changed:
// a new address is a new chance, and worth a question at once.
func (f *Finder) reconcile(ctx context.Context, links []Interface, running map[browserKey]*worker, wg *sync.WaitGroup) {
	wanted := map[browserKey]Interface{}
	for _, l := range links {
		for _, v6 := range []bool{false, true} {
			if l.has(v6) && f.asksMulticast() {
				key := browserKey{l.Index, mdns4}
				if v6 {
					key.way = mdns6
				}
				wanted[key] = l.only(v6)
			}
		}
		if len(l.DNS) > 0 && (len(l.Addrs) > 0 || l.Index == 0) && f.asksServers(l) {
			wanted[browserKey{l.Index, unicast}] = l
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
		wg.Go(func() { f.work(ctx, key.way, l) })
	}
}

// work asks in one way on one link until ctx ends. What fails is tried
// again.
func (f *Finder) work(ctx context.Context, w way, l Interface) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, lastInterval) {
		var err error
		switch w {
		case unicast:
			err = f.lookUp(ctx, l)
		default:
			err = f.browse(ctx, l, w == mdns6)
		}

		if ctx.Err() != nil {
			return
		}
		f.log.Debug("looking for the key server", "link", l.Name, "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(jitter(wait)):
		}
	}
}

// direct offers link-local addresses of URLs on every link.
func (f *Finder) direct(links []Interface) {
	for _, t := range f.targets {
		if !t.addr.IsValid() || !t.addr.IsLinkLocalUnicast() {
			continue
		}
		for _, l := range links {
			if l.has(t.addr.Is6()) && (t.addr.Zone() == "" || t.addr.Zone() == l.Name) {
				f.pool.add(Candidate{Addr: netip.AddrPortFrom(zoned(t.addr, l), t.portOr(DefaultPort)), URL: t.url, Host: t.host, Link: l.Name, Source: FromURL}, 0, netip.Addr{})
			}
		}
	}
}

func (f *Finder) asksMulticast() bool {
	return len(f.services) > 0 || slices.ContainsFunc(f.targets, target.local)
}
