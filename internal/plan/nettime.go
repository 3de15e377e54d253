package plan

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// timing reads rd.net.*: the times, and what nm-initrd-generator has there.
func (p *netParser) timing(a Arg) error {
	t := &p.net.Timeouts
	for name, to := range map[string]*time.Duration{
		"dhcp": &t.DHCP, "iflink": &t.IfLink, "ifup": &t.IfUp, "ipv6auto": &t.IPv6Auto, "carrier": &t.Carrier,
	} {
		if a.Is("rd.net.timeout." + name) {
			n, err := parseInt(a.Value, 1, maxSeconds)
			if err != nil {
				return fmt.Errorf("%w seconds", err)
			}
			*to = time.Duration(n) * time.Second
			return nil
		}
	}

	switch name := strings.TrimPrefix(canonical(a.Key), "rd.net."); name {
	case "dhcp.retry", "timeout.route", "timeout.ipv6dad", "timeout.ip_required":
		return errors.New("has no effect: addresses and routes are asked for until they are there")
	case "dhcp.vendor_class", "dhcp.dscp", "dhcp.client_id":
		return errors.New("has no effect: DHCP is asked without")
	case "dns":
		if strings.Contains(a.Value, "tls") {
			return errors.New("DNS over TLS is not there; the server is not asked")
		}
		return p.nameservers(strings.TrimPrefix(a.Value, "dns+udp://"))
	}
	return errors.New("not an option of latchkey; rd.net.timeout.{dhcp,iflink,ifup,ipv6auto,carrier} and rd.net.dns are")
}

// Stranded is how long none of the links that ip= names may be there, while
// others are, before those ask by DHCP: what rd.net.timeout.iflink= says, or
// long enough for most drivers. Where a link comes later, its line counts.
func (t NetTimeouts) Stranded() time.Duration { return cmp.Or(t.IfLink, 10*time.Second) }

// maxSeconds is one day.
const maxSeconds = 86400

// OrDefaults fills what the settings leave open. The times are dracut's
// (dracut.cmdline(7)) but for DHCP, which is asked without end in both: an
// IPv4 link-local address is looked for beside it after 2 s, and that takes
// 4 to 7 s more.
func (t NetTimeouts) OrDefaults() NetTimeouts {
	return NetTimeouts{
		DHCP:     cmp.Or(t.DHCP, 2*time.Second),
		IfLink:   cmp.Or(t.IfLink, 60*time.Second),
		IfUp:     cmp.Or(t.IfUp, 20*time.Second),
		IPv6Auto: cmp.Or(t.IPv6Auto, 40*time.Second),
		Carrier:  cmp.Or(t.Carrier, 10*time.Second),
	}
}
