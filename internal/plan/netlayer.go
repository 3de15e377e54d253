package plan

import (
	"fmt"
	"slices"
	"strings"
)

// vlan reads <name>:<link>. The number stands at the end of the name, in
// one of the four styles of dracut.cmdline(7), vlan0005, vlan5, eth0.0005,
// eth0.5, or after a name of one's own, as nm-initrd-generator(8) has it.
func (p *netParser) vlan(value string) error {
	f, err := splitFields(value)
	name, on := field(f, 0), field(f, 1)
	if err != nil || !isLinkName(name) || !isLinkName(on) || name == on {
		return fmt.Errorf("%q is not <name>:<link>, such as vlan5:eth0 or eth0.5:eth0", value)
	}
	if len(f) > 2 {
		p.drop("%q has no effect: VLANs have no options here", strings.Join(f[2:], ":"))
	}

	if rest, ok := strings.CutPrefix(on, name+"."); ok && strings.Trim(rest, "0123456789") == "" {
		p.drop("the name comes first: read as vlan=%s:%s", on, name)
		name, on = on, name
	}
	digits := name[len(strings.TrimRight(name, "0123456789")):]
	id, err := parseInt(digits, 1, 4094) // IEEE 802.1Q, table 9-2
	if err != nil || len(digits) > 4 {
		return fmt.Errorf("%q ends in no VLAN number from 1 to 4094: name it vlan5, vlan0005, %s.5 or %s.0005", name, on, on)
	}

	if len(p.net.VLANs) == maxLayers {
		return fmt.Errorf("more than %d vlan= options", maxLayers)
	}
	if p.net.makes(name) {
		return fmt.Errorf("link %s is made twice", name)
	}
	p.net.VLANs = append(p.net.VLANs, VLAN{Name: name, On: on, ID: id})
	p.came("made", name)
	return nil
}

// bridge reads <name>:<links>; alone it is br0:eth0.
func (p *netParser) bridge(value string) error {
	if value == "" {
		value = "br0:eth0"
	}
	f, err := splitFields(value)
	name := field(f, 0)
	if err != nil || !isLinkName(name) {
		return fmt.Errorf("%q is not <name>:<link>[,<link>…]", value)
	}
	if len(f) > 2 {
		p.drop("after <name>:<links> nothing may follow")
	}

	ports := p.ports(name, field(f, 1))
	if len(ports) == 0 {
		p.drop("bridge %s has no links under it and gets no carrier: want %s:<link>[,<link>…]", name, name)
	}
	if len(p.net.Bridges) == maxLayers {
		return fmt.Errorf("more than %d bridge= options", maxLayers)
	}
	if p.net.makes(name) {
		return fmt.Errorf("link %s is made twice", name)
	}
	p.net.Bridges = append(p.net.Bridges, Bridge{Name: name, Ports: ports})
	p.came("made", name)
	return nil
}

// makes tells whether the boot makes a link of this name itself; each name
// exists once.
func (n Net) makes(name string) bool {
	return slices.ContainsFunc(n.VLANs, func(v VLAN) bool { return v.Name == name }) ||
		slices.ContainsFunc(n.Bonds, func(b Bond) bool { return b.Name == name }) ||
		slices.ContainsFunc(n.Bridges, func(b Bridge) bool { return b.Name == name })
}

// ports reads the links under a bond or a bridge.
func (p *netParser) ports(name, list string) []string {
	var ports []string
	for port := range strings.SplitSeq(list, ",") {
		switch {
		case port == "":
		case !isLinkName(port):
			p.drop("%s", badName(port))
		case port == name || slices.Contains(ports, port):
			p.drop("%s cannot carry %s twice or itself", name, port)
		case len(ports) == maxLayers:
			p.drop("%s has more than %d links", name, maxLayers)
			return ports
		default:
			ports = append(ports, port)
		}
	}
	return ports
}
