package worker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/netup"
)

// A network is the running network and the search for a KMS on it.
type network struct {
	worker *worker
	finder *discover.Finder
	err    error // there is nothing to find: the source kms is lost
	used   bool  // the links are ours
	cancel context.CancelFunc
	done   chan struct{}
	start  time.Duration

	links []netup.Link

	mu       sync.Mutex
	seen     []discover.Interface
	finders  map[*discover.Finder]bool // beside finder
	settings plan.Net                  // whose turn it is
	onImage  bool                      // it is that of the image alone
	turn     chan struct{}             // closed to end it
	tick     *time.Ticker              // ends turns while servers are asked in vain
	asked    int                       // servers that have not answered
	linked   chan struct{}             // closed when frames pass on a link
	isLinked bool
	ways     ways // of the links as they are
	found    bool // there has been a candidate
	noted    bool // the step net is
	failures map[netip.AddrPort]int
	waiting  map[netip.AddrPort]discover.Candidate // set aside as unreachable
	addrs    map[netip.Prefix]bool                 // that the links have had
}

// startNetwork brings the links up and looks for a KMS on each from the
// moment that frames pass. It returns at once. A plan that asks no KMS
// leaves the links alone.
func (w *worker) startNetwork(ctx context.Context) *network {
	ctx, cancel := context.WithCancel(ctx)
	n := &network{
		worker: w, cancel: cancel, done: make(chan struct{}), start: w.sys.Now(),
		settings: w.plan.Net, turn: make(chan struct{}), tick: never(),
		linked: make(chan struct{}), failures: map[netip.AddrPort]int{}, waiting: map[netip.AddrPort]discover.Candidate{}, addrs: map[netip.Prefix]bool{}, finders: map[*discover.Finder]bool{},
	}
	if w.plan.NeedsKMS() {
		n.finder, n.err = w.newFinder()
	}
	if !w.plan.NeedsNetwork() || n.err != nil && !w.plan.NeedsOthers() {
		close(n.done)
		return n
	}

	n.used = true
	var all sync.WaitGroup
	if n.finder != nil {
		all.Go(func() { n.lookUp(ctx, n.finder) })
	}
	all.Go(func() { n.takeTurns(ctx) })
	all.Go(func() {
		w.faults.At("net")
		n.run(ctx)
	})

	go func() { all.Wait(); close(n.done) }()
	return n
}

// newFinder makes the search for a KMS of what the plan says, less what
// cannot be used: a bad entry fails alone, and is named.
func (w *worker) newFinder() (*discover.Finder, error) {
	f, err := discover.NewFinder(discover.Query{URLs: w.plan.Find.URLs, Services: w.plan.Find.Services}, w.sys.Sockets(), w.log)
	for _, bad := range entries(err) {
		w.waiting(codes.Fail(kms.CodeBadURL, "find.%s[%d] %q is left out: %w", bad.Field, bad.Index, bad.Entry, bad.Err))
	}
	if f == nil {
		return nil, codes.Fail(kms.CodeBadURL, "nothing in find.urls and find.services can be used")
	}
	return f, nil
}

// entries are the bad entries that an error joins.
func entries(err error) (bad []*discover.EntryError) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, e := range joined.Unwrap() {
		if one, ok := errors.AsType[*discover.EntryError](e); ok {
			bad = append(bad, one)
		}
	}
	return bad
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
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = seen
	for f := range n.finders {
		f.Update(seen)
	}
}

func (n *network) addresses(links []discover.Interface) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(links) > 0 && !n.isLinked {
		n.isLinked = true
		close(n.linked)
	}
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

// standing is where a search stands that has found nothing.
func (n *network) standing(what string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.isLinked:
		return fmt.Sprintf("no %s found: no link is up", what)
	case len(n.addrs) == 0:
		return fmt.Sprintf("no %s found: no link has an address", what)
	}
	var addrs []string
	for a := range n.addrs {
		addrs = append(addrs, a.String())
	}
	slices.Sort(addrs)
	return fmt.Sprintf("no %s found from %s", what, strings.Join(addrs, ", "))
}

func (n *network) note(step, text string) {
	n.worker.conn.Send(wire.Record{Kind: wire.KindStep, Name: step, Text: text, Start: n.start, Duration: n.worker.sys.Now() - n.start})
}

// mostRemembered is of how many addresses failures are remembered.
const mostRemembered = 1024

// setAside keeps a candidate from being asked for a while: 30 s if it is
// not ours, else one second that doubles, up to 30.
func (n *network) setAside(c discover.Candidate, code string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.aside(c, code)
}

func (n *network) aside(c discover.Candidate, code string) time.Duration {
	const most = 30 * time.Second
	if len(n.failures) >= mostRemembered { // somebody makes candidates up, all day long
		clear(n.failures)
		clear(n.waiting)
	}
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
	if !n.used {
		return
	}
	if err := n.worker.sys.Leave(n.settings, n.links, n.worker.log); err != nil {
		n.worker.log.Warn("the links are not handed over", "err", err)
	}
}
