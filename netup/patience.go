package netup

import (
	"cmp"
	"slices"
	"time"
)

// The defaults of rd.net.timeout.* in dracut.cmdline(7). Here nothing is
// given up when they are over; what is missing is said once, so that the
// console tells what the boot waits for.
const (
	ifLinkTime  = 60 * time.Second // a link that the plan names is there
	carrierTime = 10 * time.Second // frames pass on a link that is up
	ifUpTime    = 20 * time.Second // a link with carrier has an address
)

// complain says what has been missing for too long.
func (n *network) complain(devices []Device) {
	t := n.settings.Timeouts
	for _, line := range n.settings.IPs {
		if line.Link != "" && !slices.ContainsFunc(devices, func(d Device) bool { return called(d, line.Link) }) {
			n.late("link "+line.Link, n.started, cmp.Or(t.IfLink, ifLinkTime), "the link is not there", line.Link)
		}
	}
	for _, l := range n.links {
		switch {
		case !l.dev.Carrier:
			n.late("carrier "+l.dev.Name, l.found, cmp.Or(t.Carrier, carrierTime), "the link has no carrier", l.dev.Name)
		case !slices.ContainsFunc(l.dev.Addrs, func(a Addr) bool { return !a.Addr().IsLinkLocalUnicast() }):
			n.late("address "+l.dev.Name, l.since, cmp.Or(t.IfUp, ifUpTime), "the link has no address but a link-local one", l.dev.Name)
		}
	}
}

// late says once that something has been missing since a time, when that
// is too long ago, and looks again by then.
func (n *network) late(key string, since time.Time, after time.Duration, text, link string) {
	if left := after - time.Since(since); left > 0 {
		if !n.looking[key] {
			n.looking[key] = true
			n.soon(left)
		}
		return
	}
	if !n.said[key] {
		n.said[key] = true
		n.log.Warn(text+"; waiting on", "link", link, "for", time.Since(since).Round(time.Second))
	}
}
