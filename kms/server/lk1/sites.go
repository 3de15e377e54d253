package lk1

import (
	"net/netip"
	"strings"

	"latchkey/kms/ledger"
)

// Sites tells whether nodes with these labels are of a site.
type Sites func(v ledger.View, site string, labels map[string]string) bool

// SetSites is called before nodes are served.
func (s *Service) SetSites(f Sites) { s.sites = f }

// atSite stands between the address of a node that asks through the server of
// a site and the site's name.
const atSite = " at site "

// From is where a node is that asks through the server of a site, which says
// so.
func From(address, site string) string { return address + atSite + site }

// placeOf is where a node asked from; what is no address is in no network. A
// site's server is believed for the nodes of its site only: it must not put
// another's machine where that may be.
func (v view) placeOf(from string, row *nodeRow) netip.Addr {
	address, site, through := strings.Cut(from, atSite)
	if through && (v.s.sites == nil || !v.s.sites(v.View, site, row.Labels)) {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(address)
	return a
}
