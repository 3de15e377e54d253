package worker

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
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
	ways     ways // of the links as they are
	found    bool // there has been a candidate
	noted    bool // the step net is
	failures map[netip.AddrPort]int
	waiting  map[netip.AddrPort]discover.Candidate // set aside as unreachable
	addrs    map[netip.Prefix]bool                 // that the links have had
}

// startNetwork brings the links up and looks for a KMS on each from the
// moment that frames pass. It returns at once.
func (w *worker) startNetwork(ctx context.Context) (*network, error) {
	finder, err := discover.NewFinder(discover.Query{URLs: w.plan.Find.URLs, Services: w.plan.Find.Services}, discover.System{}, w.log)
	if err != nil {
		return nil, codes.Fail("plan-invalid", "%w", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	n := &network{
		worker: w, finder: finder, cancel: cancel, done: make(chan struct{}), start: wire.Now(),
		linked: make(chan struct{}), failures: map[netip.AddrPort]int{}, waiting: map[netip.AddrPort]discover.Candidate{}, addrs: map[netip.Prefix]bool{},
	}
	var both sync.WaitGroup
	both.Go(func() { finder.Run(ctx) })
	both.Go(func() {
		w.faults.At("net")
		if err := netup.Run(ctx, netup.Linux{}, w.plan.Net, w.log, n.update); err != nil {
			w.log.Error("no network", "err", err)
		}
	})

	go func() { both.Wait(); close(n.done) }()
	return n, nil
}

// update passes the links on to discovery, notes the first address that
// reaches beyond its link, and gives unreachable candidates another chance
// at each new one.
func (n *network) update(links []netup.Link) {
	n.links = links // read by leave, when update is called no more
	var seen []discover.Interface
	for _, l := range links {
		if l.Up {
			seen = append(seen, discover.Interface{Index: l.Index, Name: l.Name, Addrs: l.Addrs, DNS: l.DNS, Domains: l.Domains})
		}
	}
	n.addresses(seen)
	if len(seen) > 0 && !n.isLinked { // update is called by one goroutine
		n.isLinked = true
		close(n.linked)
	}
	n.finder.Update(seen)
}

func (n *network) addresses(links []discover.Interface) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ways = ways{}
	news := false
	for _, l := range links {
		var f families
		for _, a := range l.Addrs {
			f.note(a.Addr())
			if n.addrs[a] {
				continue
			}
			n.addrs[a], news = true, true
			if !n.noted && (a.Addr().Is4() || !a.Addr().IsLinkLocalUnicast()) {
				n.noted = true
				n.note("net", fmt.Sprintf("%s %s", l.Name, a))
			}
		}
		n.ways[l.Name] = f
	}

	if !news {
		return
	}
	for at, c := range n.waiting {
		delete(n.waiting, at)
		n.finder.SetAside(c, 0)
	}
}

// way returns the link to ask a candidate over. One that cannot be asked
// yet is set aside until a link has a new address, or for a moment. After
// every other failure the routes decide.
func (n *network) way(c discover.Candidate) (link string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	link, ok = n.ways.choose(c, n.failures[c.Addr]%2 == 1)
	if !ok {
		n.aside(c, kms.CodeUnreachable)
	}
	return link, ok
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
	n.worker.conn.Send(wire.Record{Kind: wire.KindStep, Name: step, Text: text, Start: n.start, Duration: wire.Now() - n.start})
}

// setAside keeps a candidate from being asked for a while: 30 s if it is
// not ours, else one second that doubles, up to 30.
func (n *network) setAside(c discover.Candidate, code string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.aside(c, code)
}

func (n *network) aside(c discover.Candidate, code string) time.Duration {
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
