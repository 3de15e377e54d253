package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

func describeNet(p *Plan) []string {
	var s Section
	if !p.NeedsNetwork() {
		s.add("not brought up: no volume needs the key server or a tang server")
		return s.Lines
	}

	describeLayers(&s, p.Net)
	describeLines(&s, p.Net)
	describeServers(&s, p.Net)
	describeNetTimes(&s, p.Net)
	if p.ImageNet != nil {
		s.add("if no %s has answered after %s, the image's settings have their turn: %s", p.Servers(), p.NetTurn(), p.ImageNet)
	}
	if p.Net.Keep {
		s.add("the links stay as they are for the real root (rd.latchkey.keepnet)")
	} else {
		s.add("the links are put back as they were before the real root begins")
	}
	return s.Lines
}

func describeLayers(s *Section, n Net) {
	for _, l := range n.Names {
		s.add("%s: the link with the hardware address %s", l.Name, l.MAC)
	}
	for _, v := range n.VLANs {
		s.add("%s: VLAN %d on %s", v.Name, v.ID, v.On)
	}
	for _, b := range n.Bonds {
		s.add("%s: bonds %s%s%s", b.Name, strings.Join(b.Ports, ", "), bondString(b), word(", MTU ", b.MTU))
	}
	for _, b := range n.Bridges {
		s.add("%s: bridges %s", b.Name, cmp.Or(strings.Join(b.Ports, ", "), "nothing"))
	}
}

// spoken says what each method does; Static and Off have words of
// their own.
func spoken(m Method) string {
	return map[Method]string{
		DHCP: "DHCPv4", DHCP6: "DHCPv6", Auto6: "router advertisements (SLAAC)",
		Either6: "router advertisements, else DHCPv6", Link6: "the IPv6 link-local address only",
		Link4: "an IPv4 link-local address (169.254.0.0/16) at once", Off6: "no IPv6 but the link-local address",
	}[m]
}

func describeLines(s *Section, n Net) {
	if len(n.IPs) == 0 {
		s.add("every link: DHCPv4 and what routers advertise; MTU of DHCP, else the link's own")
		return
	}

	for _, line := range n.IPs {
		name := nameOf(line.Link)
		if line.Link == "" && slices.ContainsFunc(n.IPs, func(o IP) bool { return o.Link != "" }) {
			name = "every other link"
		}
		s.add("%s: %s", name, line.sentence())
	}
	if !slices.ContainsFunc(n.IPs, func(l IP) bool { return l.Link == "" }) {
		s.add("other links: left alone, but all ask by DHCP while none of the named ones is there after %s", n.Timeouts.Stranded())
	}
}

func (line IP) sentence() string {
	var how []string
	for _, m := range line.Methods {
		switch m {
		case Off:
			return "left alone"
		case Static:
			how = append(how, line.Address.String()+word(", peer ", line.Peer)+word(", gateway ", line.Gateway))
		default:
			how = append(how, spoken(m))
		}
	}
	dynamic := "; MTU of DHCP, else the link's own"
	if line.MTU != 0 {
		dynamic = word("; MTU ", line.MTU)
	} else if !slices.Contains(line.Methods, DHCP) {
		dynamic = "; MTU of the link"
	}
	host := ""
	if slices.Contains(line.Methods, DHCP) {
		host = word("; tells DHCP the name ", line.Hostname)
	}
	return strings.Join(how, " and ") + dynamic + word("; hardware address ", line.MAC) + host
}

func describeServers(s *Section, n Net) {
	if n.BootDev != "" {
		s.add("default route: through %s (bootdev)", n.BootDev)
	}
	if n.BootMAC != "" {
		s.add("booted from: the link with the hardware address %s (BOOTIF)", n.BootMAC)
	}
	for _, r := range n.Routes {
		s.add("route: %s%s%s", r.To, word(" via ", r.Via), word(" on ", r.Link))
	}

	var servers []string
	for _, a := range n.Nameservers {
		servers = append(servers, a.String())
	}
	for _, line := range n.IPs {
		for _, a := range line.DNS {
			servers = append(servers, a.String()+" on "+nameOf(line.Link))
		}
	}
	if !n.NoPeerDNS {
		servers = append(servers, "those of DHCP and routers")
	}
	s.add("DNS servers: %s", cmp.Or(strings.Join(servers, ", then "), "none"))
	s.add("NTP servers: none is asked; the clock stays as the firmware has it")
}

func describeNetTimes(s *Section, n Net) {
	t := n.Timeouts.OrDefaults()
	s.add("waits: nothing is given up. An IPv4 link-local address is looked for when DHCP is silent for %s%s",
		t.DHCP, eitherWait(n, t.IPv6Auto))
	s.add("said on the console: a named link that is missing after %s, no carrier after %s, no address after %s", t.IfLink, t.Carrier, t.IfUp)
}

func eitherWait(n Net, after time.Duration) string {
	if !slices.ContainsFunc(n.IPs, func(l IP) bool { return slices.Contains(l.Methods, Either6) }) {
		return ""
	}
	return "; DHCPv6 is asked when no router has given an address after " + after.String()
}
