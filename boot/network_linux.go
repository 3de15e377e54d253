package boot

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"latchkey/discover"
	"latchkey/kms"
	"latchkey/netup"
)

// A network is the running network and the search for a KMS on it.
type network struct {
	worker *worker
	finder *discover.Finder
	cancel context.CancelFunc
	done   chan struct{}
	start  time.Duration

	links []netup.Link

	mu       sync.Mutex
	linked   chan struct{} // closed when frames pass on a link
	isLinked bool
	up       chan struct{} // closed when a link has had a usable address
	found    bool          // there has been a candidate
	failures map[netip.AddrPort]int
	waiting  map[netip.AddrPort]discover.Candidate // set aside as unreachable
	addrs    map[netip.Prefix]bool                 // that the links have had
}

// startNetwork brings the links up and looks for a KMS on each from the
// moment that frames pass. It returns at once.
func (w *worker) startNetwork(ctx context.Context) (*network, error) {
	finder, err := discover.NewFinder(discover.Query{URLs: w.plan.Find.URLs, Services: w.plan.Find.Services}, discover.System{}, w.log)
	if err != nil {
		return nil, fail("plan-invalid", "%w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	n := &network{worker: w, finder: finder, cancel: cancel, done: make(chan struct{}), start: bootTime(),
		up: make(chan struct{}), linked: make(chan struct{}), failures: map[netip.AddrPort]int{}, waiting: map[netip.AddrPort]discover.Candidate{}, addrs: map[netip.Prefix]bool{}}
	var both sync.WaitGroup
	both.Go(func() { finder.Run(ctx) })
	both.Go(func() {
		w.faults.at("net")
		if err := netup.Run(ctx, netup.Linux{}, w.plan.Net, w.log, n.update); err != nil {
			w.log.Error("no network", "err", err)
		}
	})
	go func() { both.Wait(); close(n.done) }()
	return n, nil
}

// update passes the links on to discovery, notes the first address, and
// gives unreachable candidates another chance at each new one.
func (n *network) update(links []netup.Link) {
	n.links = links // read by leave, when update is called no more
	var seen []discover.Interface
	for _, l := range links {
		if !l.Up {
			continue
		}
		seen = append(seen, discover.Interface{Index: l.Index, Name: l.Name, Addrs: l.Addrs, DNS: l.DNS, Domains: l.Domains})
		for _, a := range l.Addrs {
			if !a.Addr().IsLinkLocalUnicast() || a.Addr().Is4() {
				n.address(l.Name, a)
			}
		}
	}
	if len(seen) > 0 && !n.isLinked { // update is called by one goroutine
		n.isLinked = true
		close(n.linked)
	}
	n.finder.Update(seen)
}

func (n *network) address(link string, a netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.addrs[a] {
		return
	}
	n.addrs[a] = true
	if len(n.addrs) == 1 {
		n.note("net", fmt.Sprintf("%s %s", link, a))
		close(n.up)
	}
	for at, c := range n.waiting {
		delete(n.waiting, at)
		n.finder.SetAside(c, 0)
	}
}

// reachable waits until a candidate that is on no particular link can be
// asked at all.
func (n *network) reachable(ctx context.Context, c discover.Candidate) {
	if c.Link != "" {
		return
	}
	select {
	case <-n.up:
	case <-ctx.Done():
	}
}

// foundOnce notes the first candidate.
func (n *network) foundOnce(c discover.Candidate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.found {
		n.found = true
		n.note("find", c.String())
	}
}

func (n *network) note(step, text string) {
	n.worker.conn.Send(Record{Kind: KindStep, Name: step, Text: text, Start: n.start, Duration: bootTime() - n.start})
}

// setAside keeps a candidate from being asked for a while: 30 s if it is
// not ours, else one second that doubles, up to 30.
func (n *network) setAside(c discover.Candidate, code string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	const most = 30 * time.Second
	d := most
	if code != kms.CodeWrongPin && code != kms.CodeBadAnswer {
		d = min(most, time.Second<<min(n.failures[c.Addr], 5))
		n.failures[c.Addr]++
	}
	if code == kms.CodeUnreachable {
		n.waiting[c.Addr] = c
	}
	n.finder.SetAside(c, d)
	return d
}

// retaken is called when a candidate is asked again.
func (n *network) retaken(c discover.Candidate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.waiting, c.Addr)
}

// leave ends discovery and leaves the links as they were found, so that
// the real root's udev and network manager do their own work, unless the
// plan keeps them.
func (n *network) leave() {
	n.cancel()
	<-n.done
	if n.worker.plan.Net.Keep {
		if err := netup.Keep("/run", n.worker.plan.Net, n.links); err != nil {
			n.worker.log.Warn("the leases are not handed over", "err", err)
		}
		return
	}
	if err := netup.Release(netup.Linux{}, n.worker.log); err != nil {
		n.worker.log.Warn("links not given back", "err", err)
	}
}
