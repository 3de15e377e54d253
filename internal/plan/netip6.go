package plan

import (
	"errors"
	"fmt"
	"slices"
)

// ip6line reads ip6= as initramfs-tools has it: off or none, dhcp, a
// method, a link that asks DHCPv6, or <link>:<method>. It is about IPv6
// only: what ip= says of IPv4 stands, or DHCP if it says nothing.
func (p *netParser) ip6line(value string) error {
	f, err := splitFields(value)
	switch {
	case err != nil:
		return err
	case len(f) == 0:
		return errors.New("it is empty: " + ip6Forms)
	case isAlone(value) || isAddress(f[0]):
		return errors.New("an address belongs into ip=: ip=[2001:db8::5]::[2001:db8::1]:64::eth0:none")
	case len(p.ip6) == maxIPs:
		return fmt.Errorf("more than %d ip6= options", maxIPs)
	}

	line := IP{}
	word := f[0]
	if _, isMethod := method6(word); !isMethod || len(f) > 1 {
		if !isLinkName(f[0]) {
			return fmt.Errorf("%q is neither a method nor a link: %s", f[0], ip6Forms)
		}
		line.Link, word = f[0], "dhcp"
	}
	if len(f) > 1 && f[1] != "" {
		word = f[1]
	}
	if len(f) > 2 {
		p.drop("after <link>:<method> nothing may follow")
	}

	m, known := method6(word)
	if !known {
		p.drop("%q is not a method of link %s; dhcp is used", word, line.Link)
		m = DHCP6
	}
	line.Methods = []Method{m}
	p.ip6 = append(p.ip6, line)
	p.came("ip", line.Link)
	return nil
}

const ip6Forms = "want off, dhcp, auto6, either6, link6, a link, or <link>:<method>"

func method6(word string) (m Method, known bool) {
	switch word {
	case "off", "none", "done":
		return Off6, true
	case "dhcp", "on", "any", "dhcp6":
		return DHCP6, true
	case "auto":
		return Either6, true
	case "auto6", "either6", "link6":
		return Method(word), true
	}
	return "", false
}

// mergeIP6 joins the lines of ip6= with those of ip=.
func (p *netParser) mergeIP6() {
	for _, six := range p.ip6 {
		m := six.Methods[0]
		if six.Link == "" {
			p.everyLink6(m)
			continue
		}

		same := func(l IP) bool { return l.Link == six.Link }
		if !slices.ContainsFunc(p.net.IPs, same) {
			p.net.IPs = append(p.net.IPs, IP{Link: six.Link, Methods: p.methodsElsewhere()})
		}
		for i := range p.net.IPs {
			if same(p.net.IPs[i]) {
				p.net.IPs[i].addIPv6(m)
				break
			}
		}
	}
}

func (p *netParser) everyLink6(m Method) {
	if !slices.ContainsFunc(p.net.IPs, func(l IP) bool { return l.Link == "" }) && (m != Off6 || len(p.net.IPs) == 0) {
		p.net.IPs = append(p.net.IPs, IP{Methods: p.methodsElsewhere()})
	}
	for i := range p.net.IPs {
		p.net.IPs[i].addIPv6(m)
	}
}

// methodsElsewhere are those of a link that no line of ip= names.
func (p *netParser) methodsElsewhere() []Method {
	if len(p.net.IPs) == 0 {
		return []Method{DHCP}
	}
	for _, l := range p.net.IPs {
		if l.Link == "" && !l.Address.IsValid() {
			return slices.Clone(l.Methods)
		}
	}
	return nil
}

// addIPv6 adds a method for IPv6 to a line that has none of its own.
func (line *IP) addIPv6(m Method) {
	six := func(m Method) bool { return slices.Contains([]Method{DHCP6, Auto6, Either6, Link6, Off6}, m) }
	switch {
	case slices.ContainsFunc(line.Methods, six), line.Address.IsValid() && line.Address.Addr().Is6() && m == Off6:
	case slices.Equal(line.Methods, []Method{Off}) && m == Off6:
	case slices.Equal(line.Methods, []Method{Off}):
		line.Methods = []Method{m}
	default:
		line.Methods = append(line.Methods, m)
	}
}
