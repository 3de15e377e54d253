// Package netup brings the network of a boot up: every link at once,
// addresses by whatever the Plan says and the LAN offers, for ever.
package netup

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"latchkey/internal/order"
	"latchkey/internal/plan"
)

// A Link is one network interface brought up, with its addresses, gateways
// and DNS servers.
type Link struct {
	Index    int
	Name     string
	Kind     string // "" is hardware; "vlan", "bond", "bridge"
	MAC      net.HardwareAddr
	Up       bool           // frames pass
	Addrs    []netip.Prefix // usable ones; IPv6 link-local included
	Gateways []netip.Addr
	DNS      []netip.Addr
	Domains  []string
	Lease    *Lease    // of DHCPv4, nil if there is none
	Plan     []plan.IP // the ip= lines that it follows; one with an address only if it has it
}

// Run brings the links up and keeps them up until ctx ends, and then
// returns nil. It calls update, from its own goroutine, with all links
// whenever one of them has changed. It fails only if the kernel does not
// tell about its links; whatever is wrong with one link is logged and
// tried again.
func Run(ctx context.Context, k Kernel, settings plan.Net, log *slog.Logger, update func([]Link)) error {
	n := &network{
		k: k, settings: settings, log: log, update: update,
		links: map[int]*link{}, places: map[int]knownPlace{}, retries: map[string]*retry{}, renamed: map[int]bool{},
		homes: map[netip.Prefix]int{}, own: &ownMACs{},
		started: time.Now(), looking: map[string]bool{}, said: map[string]bool{},
		events: make(chan event), again: make(chan struct{}, 1),
	}
	defer n.stop()
	changes, err := k.Watch(ctx)
	if err != nil {
		return err
	}

	if err := n.sync(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changes:
			if !open && ctx.Err() == nil {
				return fmt.Errorf("watching links: the kernel closed the socket")
			}
			if wait := time.Until(n.rested); wait > 0 {
				n.soon(wait)
				continue
			}
		case <-n.again:
		case e := <-n.events:
			n.apply(e)
		}

		began := time.Now()
		if err := n.sync(ctx); err != nil && ctx.Err() == nil {
			log.Warn("cannot read the state of the network links; trying again", "error", err, "again_in", time.Second)
			n.soon(time.Second)
		}
		// Each look reads all links. On a machine with hundreds, which come
		// one by one, changes are looked at together.
		if now := time.Now(); now.Sub(began) > restAfter {
			n.rested = now.Add(now.Sub(began))
		}
	}
}

// apply does what a worker has posted, and what others post at the same
// time: one look at the links serves all.
func (n *network) apply(e event) {
	for {
		if l := n.links[e.index]; l != nil && l.since == e.since {
			e.apply(l)
		}
		select {
		case e = <-n.events:
		default:
			return
		}
	}
}

// restAfter is how long a look at all links may take before changes are
// collected.
const restAfter = 5 * time.Millisecond

// A network is the state of Run; only Run's goroutine touches it.
type network struct {
	k        Kernel
	settings plan.Net
	log      *slog.Logger
	update   func([]Link)

	links  map[int]*link
	places map[int]knownPlace // by index
	// conduits only carry frames between the processor and a switch chip,
	// whose ports are the links (DSA).
	conduits map[int]bool
	retries  map[string]*retry    // what failed and is tried again, by name
	homes    map[netip.Prefix]int // link that has an address which the plan gives to none
	own      *ownMACs
	renamed  map[int]bool
	started  time.Time
	stranded bool            // none of the links that the plan names is there
	looking  map[string]bool // what late will look at again
	said     map[string]bool // what late has said
	events   chan event
	again    chan struct{} // asks for another sync
	rested   time.Time     // changes are not looked at before
	told     []Link        // what update saw last
}

// soon asks for another sync after d.
func (n *network) soon(d time.Duration) {
	time.AfterFunc(d, func() {
		select {
		case n.again <- struct{}{}:
		default:
		}
	})
}

// stop ends what runs on the links.
func (n *network) stop() {
	for _, l := range n.links {
		l.lostCarrier()
	}
}

// sync brings links and kernel together: new links are set up, links with
// carrier start asking for addresses, those without stop, and what has
// changed is told.
func (n *network) sync(ctx context.Context) error {
	devices, err := n.devices()
	if err != nil {
		return err
	}

	if n.rename(devices) {
		if devices, err = n.devices(); err != nil {
			return err
		}
	}

	if n.layers(devices) {
		if devices, err = n.devices(); err != nil {
			return err
		}
	}

	n.own.set(devices)
	n.strand(devices)
	seen := map[int]bool{}
	for i := range devices {
		d := devices[i]
		if !n.ours(&d) {
			continue
		}
		seen[d.Index] = true
		l := n.links[d.Index]
		if l == nil {
			l = &link{found: time.Now()}
			n.links[d.Index] = l
		}

		if l.cancel != nil && !bytes.Equal(l.dev.MAC, d.MAC) {
			// A bridge takes the address of its first port, and a bond, too:
			// what was asked with the old one is answered to nobody.
			n.log.Info("link has a new MAC address; asking again", "link", d.Name, "mac", d.MAC.String())
			l.lostCarrier()
		}

		l.dev, l.bare = d, n.off(d) || n.conduits[d.Index]
		n.syncLink(ctx, l)
	}

	for index, l := range n.links {
		if !seen[index] {
			l.lostCarrier()
			delete(n.links, index)
		}
	}

	n.settle()
	n.complain(devices)
	n.tell()
	return nil
}

func (n *network) syncLink(ctx context.Context, l *link) {
	if !l.prepared {
		l.prepared = true
		n.log.Info("link found", "link", l.dev.Name, "mac", l.dev.MAC.String())
		n.prepare(l)
	}

	if !l.dev.Up && !time.Now().Before(l.tryUp) {
		l.failures++
		wait := min(time.Second<<min(l.failures, 5), lastRetry)
		l.tryUp = time.Now().Add(wait)
		if err := n.k.Do(SetUp{l.dev.Index}); err != nil {
			n.warn(l.dev.Name, "cannot bring the link up; trying again", err)
		}
		n.soon(wait)
	}

	switch {
	case l.bare:
		l.lostCarrier()
	case l.dev.Carrier && l.cancel == nil:
		n.gotCarrier(ctx, l)
	case !l.dev.Carrier && l.cancel != nil:
		n.log.Info("link lost its carrier", "link", l.dev.Name)
		l.lostCarrier()
	}

	now := time.Now()
	if next := l.routers.expiry(now); !next.IsZero() && (!l.wake.After(now) || next.Before(l.wake)) {
		l.wake = next
		n.soon(next.Sub(now))
	}

	if l.dev.Up && !slices.Equal(l.routed, l.dev.Addrs) {
		l.routed = slices.Clone(l.dev.Addrs)
		n.addRoutes(l)
	}
}

// tell calls update if something has changed.
func (n *network) tell() {
	var now []Link
	for _, l := range n.links {
		if !l.bare {
			now = append(now, n.view(l))
		}
	}
	order.By(now, func(a, b Link) int { return a.Index - b.Index })
	if !reflect.DeepEqual(now, n.told) {
		n.told = now
		n.update(slices.Clone(now))
	}
}
