package netup

import (
	"slices"
	"strings"
	"time"

	"latchkey/internal/plan"
)

// guessTime is how long a link that the plan names may be missing, while
// one other link has carrier, before that is said: drivers come one by one.
const guessTime = time.Second

// complain says what has been missing for too long. Nothing is given up when
// that time is over.
func (n *network) complain(devices []Device) {
	t := n.settings.Timeouts.OrDefaults()
	for _, name := range n.named() {
		if n.find(devices, name) != nil {
			continue
		}
		n.guess(name)
		n.late("link "+name, n.started, t.IfLink, "the link that the options name is not there; still waiting for it", name)
	}

	for _, l := range n.links {
		switch {
		case !l.dev.Carrier:
			n.late("carrier "+l.dev.Name, l.found, t.Carrier, "the link has no carrier; check the cable", l.dev.Name)
		case !l.bare && !slices.ContainsFunc(l.dev.Addrs, func(a Addr) bool { return !a.Addr().IsLinkLocalUnicast() }):
			n.late("address "+l.dev.Name, l.since, t.IfUp, "the link has no address but a link-local one; still asking", l.dev.Name)
		}
	}
}

// named are the links that must be there for the plan to work, but those that
// it makes itself.
func (n *network) named() []string {
	var out []string
	add := func(names ...string) {
		for _, name := range names {
			if name != "" && !n.made(name) && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	for _, line := range n.settings.IPs {
		add(line.Link)
	}
	for _, v := range n.settings.VLANs {
		add(v.On)
	}
	for _, b := range n.settings.Bonds {
		add(b.Ports...)
	}
	for _, b := range n.settings.Bridges {
		add(b.Ports...)
	}
	add(n.settings.BootDev)
	return out
}

// guess says which link may be meant by a name that none has, if exactly one
// link has carrier and no option names it.
func (n *network) guess(name string) {
	var up []*link
	for _, l := range n.links {
		if l.dev.Carrier && isHardware(l.dev) {
			up = append(up, l)
		}
	}
	if len(up) != 1 || slices.ContainsFunc(n.named(), func(s string) bool { return called(up[0].dev, s) }) {
		return
	}

	since := n.started
	if up[0].since.After(since) {
		since = up[0].since
	}
	if n.early("guess "+name, since, guessTime) {
		return
	}
	n.once("guess "+name, func() {
		d := up[0].dev
		n.log.Warn("the link that the options name is not there, and another is the only one with carrier; check the name",
			"named", name, "link", d.Name, "mac", d.MAC.String(), "names", strings.Join(d.Place.Names, " "))
	})
}

// early tells whether less than after has passed since a time, and looks
// again when it has.
func (n *network) early(key string, since time.Time, after time.Duration) bool {
	left := after - time.Since(since)
	if left > 0 && !n.looking[key] {
		n.looking[key] = true
		n.soon(left)
	}
	return left > 0
}

// late says once that something has been missing since a time, when that
// is too long ago, and looks again by then.
func (n *network) late(key string, since time.Time, after time.Duration, text, link string) {
	if n.early(key, since, after) {
		return
	}
	n.once(key, func() { n.log.Warn(text, "link", link, "for", time.Since(since).Round(time.Second)) })
}

// strand decides whether the machine is stranded: each ip= names a link, and
// none of them has come in time. A name that is wrong, or that was right on
// another kernel, must not keep the machine from its key server for ever; so
// every link then asks as if there were no ip=.
func (n *network) strand(devices []Device) {
	lines := n.settings.IPs
	stranded := len(lines) > 0 && !slices.ContainsFunc(lines, func(i plan.IP) bool {
		return i.Link == "" || n.made(i.Link) || n.find(devices, i.Link) != nil
	})
	if stranded && n.early("stranded", n.started, n.settings.Timeouts.OrDefaults().IfLink) {
		stranded = false
	}
	if stranded == n.stranded {
		return
	}

	n.stranded = stranded
	if stranded {
		n.log.Warn("none of the links that ip= names is there; asking by DHCP on every link", "named", strings.Join(n.named(), " "))
	}
	for _, l := range n.links {
		l.lostCarrier() // begins anew, with other methods
	}
}
