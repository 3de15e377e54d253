package netup

import (
	"slices"
	"strings"
	"time"

	"latchkey/internal/plan"
)

// guessTime is how long a link that the plan names may be missing, after
// another has come, before that is said: drivers come one by one.
const guessTime = time.Second

// complain says what has been missing for too long. Nothing is given up when
// that time is over.
func (n *network) complain(devices []Device) {
	t := n.settings.Timeouts.OrDefaults()
	for _, name := range n.named() {
		if n.find(devices, name) != nil {
			continue
		}
		n.present(name, devices)
		n.late("link "+name, n.started, t.IfLink, "the link that the options name is not there; still waiting for it", name)
	}

	for _, l := range n.links {
		switch {
		case !l.dev.Carrier:
			n.late("carrier "+l.dev.Name, l.found, t.Carrier, "the link has no carrier; check the cable", l.dev.Name)
		case n.onlyLocal(l.dev):
		case !l.bare && !slices.ContainsFunc(l.dev.Addrs, func(a Addr) bool { return !a.Addr().IsLinkLocalUnicast() }):
			n.late("address "+l.dev.Name, l.since, t.IfUp, "the link has no address but a link-local one; still asking", l.dev.Name)
		}
	}
}

// onlyLocal tells whether the plan wants no address for the device that
// reaches beyond the link.
func (n *network) onlyLocal(d Device) bool {
	methods := n.methods(d)
	return len(methods) > 0 && !slices.ContainsFunc(methods, func(m plan.Method) bool {
		return m != plan.Link4 && m != plan.Link6 && m != plan.Off6
	})
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

// present says which links there are when none has the name that an option
// has, and again when others have come.
func (n *network) present(name string, devices []Device) {
	var there, names []string
	since := n.started
	for _, d := range devices {
		if !isHardware(d) || !d.Ether {
			continue
		}
		there, names = append(there, words(d)), append(names, d.Name)
		if l := n.links[d.Index]; l != nil && l.found.After(since) {
			since = l.found
		}
	}
	key := "present " + name + strings.Join(names, ",")
	if len(there) == 0 || n.said[key] || n.early(key, since, guessTime) {
		return
	}

	n.once(key, func() {
		n.log.Warn("the link that the options name is not there; check the name", "named", name,
			"there", strings.Join(there[:min(len(there), maxShown)], ", "))
	})
}

// maxShown is how many links a line of the log lists: LOG_LINE_MAX.
const maxShown = 6

// words is what people may call a device.
func words(d Device) string {
	how := "no carrier"
	if d.Carrier {
		how = "carrier"
	}
	return strings.Join(append([]string{d.Name, d.MAC.String()}, append(d.Place.Names, how)...), " ")
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
// none of them has come in time, while others are there. A name that is
// wrong, or that was right on another kernel, must not keep the machine from
// its key server for ever; so every link then asks as if there were no ip=.
func (n *network) strand(devices []Device) {
	lines := n.settings.IPs
	stranded := len(lines) > 0 && slices.ContainsFunc(devices, func(d Device) bool { return isHardware(d) && d.Ether }) &&
		!slices.ContainsFunc(lines, func(i plan.IP) bool { return i.Link == "" || n.stands(devices, i.Link) })
	if stranded && n.early("stranded", n.started, n.settings.Timeouts.Stranded()) {
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

// stands tells whether a link is there. One that the plan makes stands on one
// that is: a VLAN on a wrong name is not made, and a bond without ports
// carries nothing.
func (n *network) stands(devices []Device, name string) bool {
	seen := map[string]bool{}
	var walk func(string) bool
	walk = func(at string) bool {
		if seen[at] {
			return false
		}
		seen[at] = true
		if n.made(at) {
			return slices.ContainsFunc(n.settings.Below(at), walk)
		}
		return n.find(devices, at) != nil
	}
	return walk(name)
}
