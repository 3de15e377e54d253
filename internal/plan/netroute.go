package plan

import (
	"fmt"
	"net/netip"
	"strings"
)

// route reads <net>/<mask>:<gateway>[:<link>]. A network without a mask is
// one host.
func (p *netParser) route(value string) error {
	f, err := splitFields(value)
	if err != nil {
		return err
	}

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
	return nil
}
