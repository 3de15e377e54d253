package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const ipForms = "want dhcp, <link>:<method>[:<mtu>[:<mac>]] or <client>:[<peer>]:<gateway>:<mask>:<host>:<link>:<method>"

// ip reads ip= in each of its forms.
func (p *netParser) ip(value string) error {
	if len(p.net.IPs) == maxIPs {
		return fmt.Errorf("more than %d ip= options", maxIPs)
	}
	line, err := p.parseIP(value)
	if err != nil {
		return err
	}
	p.net.IPs = append(p.net.IPs, line)
	p.came("ip", line.Link)
	return nil
}

func (p *netParser) parseIP(value string) (IP, error) {
	if isAlone(value) { // IPv6 without brackets, or the kernel's ip=192.0.2.5
		return p.fullIP([]string{value}), nil
	}
	if id, ok := strings.CutPrefix(value, "dhcp,"); ok && strings.IndexAny(id, "0123456789") == 0 { // nfsroot.rst: dhcp,<id-type>,<id>
		p.drop("a client identifier (%s) is not sent; DHCP is asked without", id)
		value = "dhcp"
	}
	f, err := splitFields(value)
	if err != nil {
		return IP{}, err
	}

	f = p.swapped(f)
	switch {
	case len(f) == 0:
		return IP{}, errors.New("it is empty: " + ipForms)
	case isAddress(f[0]):
		return p.fullIP(f), nil
	case len(f) == 1 && !strings.Contains(value, ":"):
		if !hasMethod(f[0]) {
			return IP{}, fmt.Errorf("%q is neither a method nor an address: %s", f[0], ipForms)
		}
		line := IP{}
		p.methods(&line, f[0], false)
		return line, nil
	case isLinkForm(f):
		bare, _, _ := strings.Cut(value, "[")
		if strings.Contains(bare, "::") && !hasMethod(field(f, 1)) && strings.Trim(f[0], "0123456789abcdefABCDEF") == "" {
			return IP{}, fmt.Errorf("%q is not a method of link %s; an IPv6 address stands in brackets", field(f, 1), f[0])
		}
		return p.linkIP(f), nil
	}
	return p.fullIP(f), nil
}

// swapped puts a link and a method that stand in each other's place where
// they belong, and says so. A link that is called as a method is nobody's.
func (p *netParser) swapped(f []string) []string {
	swap := func(link, method int) bool {
		l, m := field(f, link), field(f, method)
		return hasMethod(l) && !hasMethod(m) && isLinkName(m) && !isAddress(m) && !strings.Contains(l, ",")
	}
	f = slices.Clone(f)
	switch {
	case swap(0, 1):
		p.drop("the link comes first: read as ip=%s:%s", f[1], f[0])
		f[0], f[1] = f[1], f[0]
	case swap(5, 6):
		p.drop("the link comes before the method: read as …:%s:%s", f[6], f[5])
		f[5], f[6] = f[6], f[5]
	case len(f) == 6 && hasMethod(f[5]):
		p.drop("%q stands where the link's name belongs and is taken for the method: %s", f[5], ipForms)
		f = append(f[:5], "", f[5])
	}
	return f
}

// isLinkForm tells <link>:<method> from <client>:<peer>:…, for lines that
// do not begin with an address.
func isLinkForm(f []string) bool {
	if len(f) == 1 {
		return true // "eth0:"
	}
	return hasMethod(f[1]) || f[0] != "" && f[1] != "" && !isAddress(f[1])
}

// linkIP reads <link>:<method>[:<mtu>[:<mac>]].
func (p *netParser) linkIP(f []string) IP {
	line := IP{Link: p.linkName(f[0])}
	p.methods(&line, field(f, 1), false)
	p.tail(&line, from(f, 2))
	return line
}

// fullIP reads <client>:[<peer>]:<gateway>:<mask>:<host>:<link>:<method>
// and what may follow: [<mtu>][:<mac>], or the kernel's
// <dns>[:<dns>[:<ntp>]].
func (p *netParser) fullIP(f []string) IP {
	line := IP{Link: p.linkName(field(f, 5))}
	p.client(&line, field(f, 0), field(f, 1), field(f, 3))
	p.gateway(&line, field(f, 2))
	if host := field(f, 4); isHostName(host) {
		line.Hostname = host
	} else {
		p.drop("%q is not a host name", host)
	}

	lost := field(f, 0) != "" && !line.Address.IsValid()
	p.methods(&line, field(f, 6), lost)
	p.tail(&line, from(f, 7))
	return line
}

// linkName reads the name of a link, or its hardware address as
// nm-initrd-generator takes it: udev's name for it says the same.
func (p *netParser) linkName(s string) string {
	if mac, err := ParseMAC(s); err == nil && len(mac) == len("00:00:00:00:00:00") {
		return "enx" + strings.ReplaceAll(string(mac), ":", "")
	}
	if s != "" && !isLinkName(s) {
		p.drop("%s; the line counts for every link that no other names", badName(s))
		return ""
	}
	return s
}

// settle drops "off" for a link that another line sets up: "off" says that
// nothing else does.
func settle(lines []IP) []IP {
	isOff := func(l IP) bool { return slices.Equal(l.Methods, []Method{Off}) }
	return slices.DeleteFunc(lines, func(l IP) bool {
		return isOff(l) && slices.ContainsFunc(lines, func(o IP) bool { return o.Link == l.Link && !isOff(o) })
	})
}

// gateway adds the gateway, if the address can have it.
func (p *netParser) gateway(line *IP, text string) {
	g, err := parseHost(text, "gateway")
	a := line.Address.Addr()
	switch {
	case err != nil:
		p.drop("%s", err)
	case g.IsValid() && a.IsValid() && g.Is4() != a.Is4():
		p.drop("gateway %s and %s are of different IP versions", g, a)
	case g.IsValid() && g == a:
		p.drop("%s is this machine and the gateway", g)
	case g.IsValid() && a.IsValid() && edge(line.Address, g) != "":
		p.drop("gateway %s is %s and no router's", g, edge(line.Address, g))
	default:
		// Hosters give out a /32 with a gateway outside of it.
		if g.Is4() && a.Is4() && line.Address.Bits() < 31 && !line.Address.Contains(g) && !line.Peer.IsValid() {
			p.drop("gateway %s is outside of %s; used all the same, as if it were on the link", g, line.Address.Masked())
		}
		line.Gateway = g
	}
}

// client adds the address with its mask, and the peer. The second field of
// the kernel's form is the server that the machine booted from; it is the
// other end of the link only where the mask says that there is one.
func (p *netParser) client(line *IP, client, peer, mask string) {
	if client == "" {
		return
	}

	peer, peerBits, peerMasked := strings.Cut(peer, "/")
	if peerMasked && mask == "" && !strings.Contains(client, "/") {
		mask = peerBits
	}
	a, masked, err := parseClient(client, mask)
	if err != nil {
		p.drop("%s", err)
	}
	line.Address = a
	if !a.IsValid() {
		return
	}

	other, err := parseHost(peer, "peer")
	switch pointToPoint := masked && a.Bits() >= a.Addr().BitLen()-1; {
	case err != nil:
		p.drop("%s", err)
	case !other.IsValid() || !pointToPoint && !peerMasked: // a server, or none
	case other.Is4() != a.Addr().Is4():
		p.drop("peer %s and %s are of different IP versions", other, a.Addr())
	case other == a.Addr():
		p.drop("%s is this machine and the peer", other)
	default:
		line.Peer = other
	}
}
