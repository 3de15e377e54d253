package plan

import (
	"slices"
	"strings"
)

// An origin is the option that a part of the settings came from.
type origin struct {
	kind, link string // "ip" and the link that it names, "made" and the link that it makes, "bootdev", "rd.route"
	arg        Arg
}

// came notes where a part came from.
func (p *netParser) came(kind, link string) {
	p.origins = append(p.origins, origin{kind, link, p.arg})
}

// about is drop for an option that was read already.
func (p *netParser) about(kind, link, format string, args ...any) {
	for _, o := range p.origins {
		if o.kind == kind && o.link == link {
			p.arg = o.arg
		}
	}
	p.drop(format, args...)
}

// whole judges the options together: what contradicts another, or leads
// nowhere, is named, and used in the way that lets the machine boot.
func (p *netParser) whole() {
	p.oneMaster()
	p.noLoops()
	p.emptyBonds()
	p.movePorts()
	p.grounds()
}

// oneMaster leaves each port to the first that wants it. A bridge that wants
// the port of a bond gets the bond: no frame comes up through the port alone.
func (p *netParser) oneMaster() {
	masters := map[string]string{} // port → bond or bridge
	for i := range p.net.Bonds {
		b := &p.net.Bonds[i]
		b.Ports = slices.DeleteFunc(b.Ports, func(port string) bool {
			if other, taken := masters[port]; taken {
				p.about("made", b.Name, "%s is a port of %s already; %s does without it", port, other, b.Name)
				return true
			}
			masters[port] = b.Name
			return false
		})
	}

	for i := range p.net.Bridges {
		b := &p.net.Bridges[i]
		var ports []string
		for _, port := range b.Ports {
			other, taken := masters[port]
			switch {
			case !taken:
				masters[port] = b.Name
				ports = append(ports, port)
			case slices.ContainsFunc(p.net.Bonds, func(o Bond) bool { return o.Name == other }):
				p.about("made", b.Name, "%s is a port of bond %s already; %s bridges %s in its place", port, other, b.Name, other)
				if masters[other] == "" {
					masters[other] = b.Name
					ports = append(ports, other)
				}
			default:
				p.about("made", b.Name, "%s is a port of %s already; %s does without it", port, other, b.Name)
			}
		}
		b.Ports = ports
	}
}

// noLoops takes away what would make a link stand on itself.
func (p *netParser) noLoops() {
	p.net.VLANs = slices.DeleteFunc(p.net.VLANs, func(v VLAN) bool {
		loop := p.net.standsOn(v.On, v.Name)
		if loop {
			p.about("made", v.Name, "%s would stand on itself: %s is on it already; the VLAN is not made", v.Name, v.On)
			p.refused = append(p.refused, refusal{"vlan", v.Name})
		}
		return loop
	})
	cut := func(name string, ports []string) []string {
		return slices.DeleteFunc(ports, func(port string) bool {
			loop := p.net.standsOn(port, name)
			if loop {
				p.about("made", name, "%s would stand on itself: %s is on it already; %s does without it", name, port, name)
			}
			return loop
		})
	}
	for i := range p.net.Bonds {
		p.net.Bonds[i].Ports = cut(p.net.Bonds[i].Name, p.net.Bonds[i].Ports)
	}
	for i := range p.net.Bridges {
		p.net.Bridges[i].Ports = cut(p.net.Bridges[i].Name, p.net.Bridges[i].Ports)
	}
}

// emptyBonds leaves out the bonds that have lost all their ports: the driver
// has no use for them, and Check refuses them.
func (p *netParser) emptyBonds() {
	p.net.Bonds = slices.DeleteFunc(p.net.Bonds, func(b Bond) bool {
		if len(b.Ports) > 0 {
			return false
		}
		p.about("made", b.Name, "bond %s has no links left and is not made", b.Name)
		p.refused = append(p.refused, refusal{"bond", b.Name})
		for i := range p.net.Bridges {
			ports := &p.net.Bridges[i].Ports
			*ports = slices.DeleteFunc(*ports, func(port string) bool { return port == b.Name })
		}
		return true
	})
}

// Below are the links that a link which the boot makes stands on.
func (n Net) Below(name string) (out []string) {
	for _, v := range n.VLANs {
		if v.Name == name {
			out = append(out, v.On)
		}
	}
	for _, b := range n.Bonds {
		if b.Name == name {
			out = append(out, b.Ports...)
		}
	}
	for _, b := range n.Bridges {
		if b.Name == name {
			out = append(out, b.Ports...)
		}
	}
	return out
}

// standsOn tells whether a link is another, or stands on it.
func (n Net) standsOn(name, other string) bool {
	seen := map[string]bool{}
	var walk func(string) bool
	walk = func(at string) bool {
		if at == other {
			return true
		}
		if seen[at] {
			return false
		}
		seen[at] = true
		return slices.ContainsFunc(n.Below(at), walk)
	}
	return walk(name)
}

// master is the bond or bridge on top of a port, "" if the link is none.
func (n Net) master(port string) (top string) {
	for range 2 * maxLayers { // no loops are left; a bond may be in a bridge
		next := ""
		for _, b := range n.Bonds {
			if slices.Contains(b.Ports, port) {
				next = b.Name
			}
		}
		for _, b := range n.Bridges {
			if slices.Contains(b.Ports, port) {
				next = b.Name
			}
		}
		if next == "" {
			break
		}
		top, port = next, next
	}
	return top
}

// movePorts gives what is said of a port to the bond or bridge on top of it:
// a port has no addresses of its own.
func (p *netParser) movePorts() {
	var lines []IP
	for i, line := range p.net.IPs {
		top := p.net.master(line.Link)
		named := func(o IP) bool { return o.Link == top }
		switch {
		case line.Link == "" || top == "":
			lines = append(lines, line)
		case slices.Equal(line.Methods, []Method{Off}): // as every port
		case slices.ContainsFunc(lines, named) || slices.ContainsFunc(p.net.IPs[i+1:], named):
			p.about("ip", line.Link, "%s is a port of %s and has no address of its own; not used, because %s has an ip= as well", line.Link, top, top)
		default:
			p.about("ip", line.Link, "%s is a port of %s and has no address of its own; used for %s", line.Link, top, top)
			line.Link = top
			lines = append(lines, line)
		}
	}
	p.net.IPs = lines

	if top := p.net.master(p.net.BootDev); top != "" {
		p.about("bootdev", "", "%s is a port of %s; used for %s", p.net.BootDev, top, top)
		p.net.BootDev = top
	}
	for i := range p.net.Routes {
		r := &p.net.Routes[i]
		if top := p.net.master(r.Link); top != "" {
			p.about("rd.route", r.Link, "%s is a port of %s; used for %s", r.Link, top, top)
			r.Link = top
		}
	}
}

// A refusal is a link that an option would have made, had it been right.
type refusal struct{ kind, name string }

// refuse remembers the link of a vlan=, bond=, bridge= or team= that is left
// out.
func (p *netParser) refuse(a Arg) {
	name, _, named := strings.Cut(a.Value, ":")
	kind := canonical(a.Key)
	if named && isLinkName(name) && slices.Contains([]string{"vlan", "bond", "bridge", "team"}, kind) {
		p.refused = append(p.refused, refusal{kind, name})
	}
}

// grounds deals with the lines of links that can never be there: the option
// that would have made them is refused, or they stand on nothing. Nobody
// waits for these.
func (p *netParser) grounds() {
	var lines []IP
	for _, line := range p.net.IPs {
		if line.Link == "" || p.comes(line.Link) {
			lines = append(lines, line)
			continue
		}
		if p.isVLAN(line.Link) || slices.Equal(line.Methods, []Method{Off}) {
			// Its addresses are those of another network than the links have.
			p.about("ip", line.Link, "there will be no link %s, because the option that makes it is not used; this one is left out, too%s", line.Link, p.instead())
			continue
		}
		p.about("ip", line.Link, "there will be no link %s, because the option that makes it is not used; the line counts for every link that no other names", line.Link)
		line.Link = ""
		lines = append(lines, line)
	}
	p.net.IPs = lines

	if dev := p.net.BootDev; dev != "" && !p.comes(dev) {
		p.about("bootdev", "", "there will be no link %s, because the option that makes it is not used", dev)
		p.net.BootDev = ""
	}
}

func (p *netParser) instead() string {
	if len(p.net.IPs) > 1 {
		return ""
	}
	return "; without another ip=, every link has what the image says, or asks by DHCP"
}

// comes tells whether a link may ever be there.
func (p *netParser) comes(name string) bool {
	seen := map[string]bool{}
	var walk func(string) bool
	walk = func(at string) bool {
		switch {
		case seen[at]:
			return false
		case slices.ContainsFunc(p.net.Names, func(n LinkName) bool { return n.Name == at }):
			return true
		case p.net.makes(at):
			seen[at] = true
			return slices.ContainsFunc(p.net.Below(at), walk)
		}
		return !slices.ContainsFunc(p.refused, func(r refusal) bool { return r.name == at })
	}
	return walk(name)
}

func (p *netParser) isVLAN(name string) bool {
	return slices.Contains(p.refused, refusal{"vlan", name}) ||
		slices.ContainsFunc(p.net.VLANs, func(v VLAN) bool { return v.Name == name })
}
