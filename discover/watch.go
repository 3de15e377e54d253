package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/ifwatch"
)

// The links are looked at when the kernel tells of a change, but not more
// often than every settleTime (a node's pods come and go by the dozen),
// and every lookTime whether this machine has been asleep, which the kernel
// tells nobody. A sleep shorter than minSleep is none: no cache forgets in it.
const (
	settleTime = 100 * time.Millisecond
	lookTime   = 5 * time.Second
	minSleep   = time.Second
)

// WatchInterfaces calls update with this machine's links, now and after
// each change, until ctx ends. Only links whose names match one of names
// count (path.Match: "eth0", "en*"); no names are all that can be part of a
// LAN: not what containers and tunnels use, nor the ports of a bridge.
func WatchInterfaces(ctx context.Context, names []string, update func([]Interface)) error {
	return watcher{names, system{}}.run(ctx, update)
}

// UnknownNames returns those of names that match none of this machine's
// links now, and the names of all links. It fails on what is no pattern.
func UnknownNames(names []string) (unknown, links []string, err error) {
	all, err := ifwatch.Links()
	if err != nil {
		return nil, nil, err
	}
	for _, l := range all {
		links = append(links, l.Name)
	}
	for _, n := range names {
		if _, err := path.Match(n, ""); err != nil {
			return nil, nil, fmt.Errorf("link name %q: %w", n, err)
		}
		if !slices.ContainsFunc(links, func(l string) bool { return (watcher{names: []string{n}}).named(l) }) {
			unknown = append(unknown, n)
		}
	}
	return unknown, links, nil
}

// kernel is what a watcher asks of the machine.
type kernel interface {
	Watch(context.Context) (<-chan struct{}, error)
	Links() ([]ifwatch.Link, error)
	Asleep() time.Duration
}

type system struct{}

func (system) Watch(ctx context.Context) (<-chan struct{}, error) { return ifwatch.Watch(ctx) }
func (system) Links() ([]ifwatch.Link, error)                     { return ifwatch.Links() }
func (system) Asleep() time.Duration                              { return ifwatch.Asleep() }

// errWatch says that no changes will be told any more.
var errWatch = errors.New("the kernel's events of links have ended")

type watcher struct {
	names []string
	kernel
}

func (w watcher) run(ctx context.Context, update func([]Interface)) error {
	changes, err := w.Watch(ctx)
	if err != nil {
		return err
	}
	sleeps, slept, looked := uint32(0), w.Asleep(), false
	look := time.NewTicker(lookTime)
	defer look.Stop()

	for {
		all, err := w.Links()
		switch {
		case err == nil:
			update(w.interfaces(all, sleeps))
		case !looked:
			return err // it will not work later either
		}
		looked = true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleTime):
		}

		for changed := false; !changed; {
			select {
			case _, open := <-changes:
				if !open {
					return cmp.Or(ctx.Err(), errWatch)
				}
				changed = true
			case <-look.C:
				changed = err != nil // a dump that failed, in a storm of changes, is made again
			}
			if now := w.Asleep(); now-slept > minSleep {
				slept, changed = now, true
				sleeps++
			}
		}
	}
}

// interfaces makes Interfaces of those links that count and can carry
// packets now.
func (w watcher) interfaces(all []ifwatch.Link, sleeps uint32) []Interface {
	var out []Interface
	for _, l := range all {
		if l.Flags&unix.IFF_UP == 0 || l.Flags&unix.IFF_RUNNING == 0 || l.Flags&unix.IFF_MULTICAST == 0 {
			continue
		}
		if !w.named(l.Name) && (len(w.names) > 0 || !isLAN(l, all)) {
			continue
		}

		i := Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, Epoch: l.Carriers + sleeps}
		for _, a := range l.Addrs {
			if isUsable(a) {
				i.Addrs = append(i.Addrs, netip.PrefixFrom(a.Addr().Unmap(), a.Bits()))
			}
		}
		out = append(out, i)
	}
	return out
}

func (w watcher) named(name string) bool {
	return slices.ContainsFunc(w.names, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// isUsable leaves out addresses from which nothing can be sent yet (a send
// fails with EADDRNOTAVAIL until the kernel knows that nobody else has the
// address), and those that are on their way out.
func isUsable(a ifwatch.Addr) bool {
	if a.Flags&unix.IFA_F_OPTIMISTIC != 0 {
		return true
	}
	return a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED|unix.IFA_F_DEPRECATED) == 0
}

// notLAN are kinds of links (IFLA_INFO_KIND) that carry no LAN: tunnels,
// overlays of clusters, places to put addresses.
var notLAN = []string{
	"dummy", "erspan", "geneve", "gre", "gretap", "ifb", "ip6erspan", "ip6gre", "ip6gretap", "ip6tnl", "ipip", "nlmon",
	"sit", "vti", "vti6", "vxlan", "wireguard", "xfrm",
}

// isLAN tells whether a link that nobody has named is worth speaking on.
func isLAN(l ifwatch.Link, all []ifwatch.Link) bool {
	switch {
	case l.Flags&unix.IFF_POINTOPOINT != 0 || slices.Contains(notLAN, l.Kind):
		return false
	case l.Master != 0 && l.PortKind != "vrf":
		return false // its bridge or bond has the addresses
	case l.Kind == "bridge":
		// docker0, cni0: behind all their ports are containers.
		return slices.ContainsFunc(all, func(p ifwatch.Link) bool {
			return p.Master == l.Index && (p.Kind != "veth" || !p.PeerAway)
		})
	case l.Kind == "veth":
		return l.PeerAway && slices.ContainsFunc(l.Addrs, isNetwork)
	}
	return true
}

// isNetwork tells a container's own eth0, which has an address in a
// network, from the end that the host keeps: without any, or with a route
// to this one container.
func isNetwork(a ifwatch.Addr) bool {
	return !a.Addr().IsLinkLocalUnicast() && !a.IsSingleIP()
}
