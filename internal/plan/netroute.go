package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maskedRoute mends a route whose mask stands in a field of its own, or that
// has an address where the link's name belongs.
func (p *netParser) maskedRoute(f []string) []string {
	to, errTo := netip.ParseAddr(bare(field(f, 0)))
	_, errVia := netip.ParseAddr(bare(field(f, 2)))
	if errVia != nil {
		return f
	}
	if errTo == nil {
		if bits, err := parseMask(to, bare(field(f, 1))); err == nil {
			p.drop("the mask stands after a slash: read as %s/%d:%s", f[0], bits, f[2])
			return append([]string{fmt.Sprintf("%s/%d", bare(f[0]), bits), f[2]}, f[3:]...)
		}
	}
	p.drop("%q is no link: want <net>/<mask>:<gateway>[:<link>]", f[2])
	return append(slices.Clone(f[:2]), f[3:]...)
}

// route reads <net>/<mask>:<gateway>[:<link>]. A network without a mask is
// one host.
func (p *netParser) route(value string) error {
	f, err := splitFields(value)
	if err != nil {
		return err
	}

	f = p.maskedRoute(f)
	text, mask, hasMask := strings.Cut(bare(field(f, 0)), "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		return fmt.Errorf("%q is not a network such as 198.51.100.0/24 (IPv6 in brackets)", field(f, 0))
	}
	bits := addr.BitLen()
	if hasMask && mask != "0" && mask != "0.0.0.0" {
		if bits, err = parseMask(addr, mask); err != nil {
			return err
		}
	} else if hasMask {
		bits = 0 // the default route
	}

	r := Route{To: netip.PrefixFrom(addr, bits).Masked()}
	via, err := parseHost(field(f, 1), "gateway")
	switch {
	case err != nil:
		p.drop("%s", err)
	case via.IsValid() && via.Is4() != addr.Is4():
		p.drop("%s and %s are of different IP versions", r.To, via)
	default:
		r.Via = via
	}

	if name := field(f, 2); name != "" {
		if err := setName(&r.Link, name); err != nil {
			p.drop("%s", err)
		}
	}
	if len(f) > 3 {
		p.drop("after <net>/<mask>:<gateway>:<link> nothing may follow")
	}

	switch {
	case !r.Via.IsValid() && r.Link == "":
		return fmt.Errorf("%q names neither gateway nor link: want <net>/<mask>:<gateway>[:<link>]", value)
	case len(p.net.Routes) == maxRoutes:
		return fmt.Errorf("more than %d rd.route= options", maxRoutes)
	}
	p.net.Routes = append(p.net.Routes, r)
	p.came("rd.route", r.Link)
	return nil
}
