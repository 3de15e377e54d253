package worker

import (
	"net/netip"

	"latchkey/discover"
)

// ways knows from which links which addresses can be asked.
type ways map[string]families // by link

// families says of which kinds a link has addresses.
type families struct{ v4, v6, linkLocal6 bool }

func (f *families) note(a netip.Addr) {
	switch {
	case a.Unmap().Is4():
		f.v4 = true
	case a.IsLinkLocalUnicast():
		f.linkLocal6 = true
	default:
		f.v6 = true
	}
}

// to tells whether an address can be asked with these.
func (f families) to(a netip.Addr) bool {
	switch {
	case a.Unmap().Is4():
		return f.v4
	case a.IsLinkLocalUnicast():
		return f.linkLocal6 || f.v6
	}
	return f.v6
}

// choose returns the link to ask a candidate over; "" leaves it to the
// routes. It is the link that the candidate was seen on, because two links
// may carry the same addresses; the routes' turn comes if elsewhere is set.
//
// A link that has no address of the candidate's family must not be tried:
// bound to it, Linux takes the candidate to be on that link whatever the
// routes say, and if the machine has had no IPv4 address at all yet, it
// keeps broadcast as the candidate's MAC for good (arp_constructor,
// net/ipv4/arp.c). Nobody answers TCP that is sent there.
func (w ways) choose(c discover.Candidate, elsewhere bool) (link string, ok bool) {
	a := c.Addr.Addr()
	if c.Link == "" || elsewhere && !a.IsLinkLocalUnicast() {
		for name, f := range w {
			if name != c.Link && f.to(a) {
				return "", true
			}
		}
	}
	return c.Link, c.Link != "" && w[c.Link].to(a)
}
