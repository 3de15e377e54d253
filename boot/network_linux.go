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

	mu       sync.Mutex
	up       bool // a link has had a usable address
	found    bool // there has been a candidate
	failures map[netip.AddrPort]int
}

// startNetwork brings the links up and looks for a KMS on each from the
// moment that frames pass. It returns at once.
func (w *worker) startNetwork(ctx context.Context) (*network, error) {
	finder, err := discover.NewFinder(discover.Query{URLs: w.plan.Find.URLs, Services: w.plan.Find.Services}, discover.System{}, w.log)
	if err != nil {
		return nil, fail("plan-invalid", "%w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	n := &network{worker: w, finder: finder, cancel: cancel, done: make(chan struct{}), start: bootTime(), failures: map[netip.AddrPort]int{}}
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

// update passes the links on to discovery, and notes the first address.
func (n *network) update(links []netup.Link) {
	var seen []discover.Interface
	for _, l := range links {
		if !l.Up {
			continue
		}
		seen = append(seen, discover.Interface{Index: l.Index, Name: l.Name, Addrs: l.Addrs, DNS: l.DNS, Domains: l.Domains})
		for _, a := range l.Addrs {
			if !a.Addr().IsLinkLocalUnicast() {
				n.upOnce(l.Name, a)
			}
		}
	}
	n.finder.Update(seen)
}

func (n *network) upOnce(link string, addr netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		n.up = true
		n.note("net", fmt.Sprintf("%s %s", link, addr))
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
	n.finder.SetAside(c, d)
	return d
}

// leave ends discovery and has netup leave the links as it found them.
func (n *network) leave() {
	n.cancel()
	<-n.done
}
