package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ifname reads <name>:<MAC>.
func (p *netParser) ifname(a Arg) error {
	name, text, _ := strings.Cut(a.Value, ":")
	if !isLinkName(name) {
		return badName(name)
	}

	mac, err := ParseMAC(text)
	if err != nil {
		return fmt.Errorf("%w, after the name and a colon", err)
	}

	if slices.ContainsFunc(p.net.Names, func(n LinkName) bool { return n.Name == name || n.MAC == mac }) {
		return fmt.Errorf("%s or %s is named twice", name, mac)
	}
	if len(p.net.Names) == maxIPs {
		return fmt.Errorf("more than %d ifname= options", maxIPs)
	}

	p.net.Names = append(p.net.Names, LinkName{Name: name, MAC: mac})
	return nil
}

// route reads <net>/<len>:<gateway>[:<link>].
func (p *netParser) route(a Arg) error {
	f, err := splitFields(a.Value)
	if err != nil {
		return err
	}

	if len(f) < 2 || len(f) > 3 {
		return fmt.Errorf("%q has %d fields, want <net>/<len>:<gateway>[:<link>]", a.Value, len(f))
	}
	to, err := netip.ParsePrefix(f[0])
	if err != nil {
		return fmt.Errorf("%q is not a network such as 198.51.100.0/24 (IPv6 in brackets)", f[0])
	}

	r := Route{To: to.Masked()}
	if r.Via, err = parseHost(f[1], "gateway"); err != nil {
		return err
	}

	if len(f) == 3 && f[2] != "" {
		if err := setName(&r.Link, f[2]); err != nil {
			return err
		}
	}

	switch {
	case r.Via.IsValid() && r.Via.Is4() != to.Addr().Is4():
		return fmt.Errorf("%s and %s are of different IP versions", to, r.Via)
	case !r.Via.IsValid() && r.Link == "":
		return fmt.Errorf("%q names neither gateway nor link", a.Value)
	case len(p.net.Routes) == maxRoutes:
		return fmt.Errorf("more than %d rd.route= options", maxRoutes)
	}

	p.net.Routes = append(p.net.Routes, r)
	return nil
}

// vlan reads <name>:<link>. The name holds the number, in one of the four
// styles of dracut.cmdline(7): vlan0005, vlan5, eth0.0005, eth0.5.
func (p *netParser) vlan(a Arg) error {
	name, on, ok := strings.Cut(a.Value, ":")
	if !ok || !isLinkName(name) || !isLinkName(on) || name == on {
		return fmt.Errorf("%q is not <name>:<link>, such as vlan5:eth0 or eth0.5:eth0", a.Value)
	}

	digits, ok := strings.CutPrefix(name, on+".")
	if !ok {
		if digits, ok = strings.CutPrefix(name, "vlan"); !ok {
			if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
				digits, ok = name[dot+1:], true
			}
		}
	}

	id, err := parseInt(digits, 1, 4094) // IEEE 802.1Q, table 9-2
	if !ok || err != nil || len(digits) > 4 {
		return fmt.Errorf("%q holds no VLAN number from 1 to 4094: name it vlan5, vlan0005, %s.5 or %s.0005", name, on, on)
	}

	if len(p.net.VLANs) == maxLayers {
		return fmt.Errorf("more than %d vlan= options", maxLayers)
	}
	return p.layer(name, func() { p.net.VLANs = append(p.net.VLANs, VLAN{Name: name, On: on, ID: id}) })
}

// bridge reads <name>:<links>; alone it is br0:eth0.
func (p *netParser) bridge(a Arg) error {
	value := a.Value
	if value == "" {
		value = "br0:eth0"
	}
	name, list, ok := strings.Cut(value, ":")
	if !ok || !isLinkName(name) {
		return fmt.Errorf("%q is not <name>:<link>[,<link>…]", value)
	}

	ports, err := parsePorts(name, list)
	if err != nil {
		return err
	}

	if len(p.net.Bridges) == maxLayers {
		return fmt.Errorf("more than %d bridge= options", maxLayers)
	}
	return p.layer(name, func() { p.net.Bridges = append(p.net.Bridges, Bridge{Name: name, Ports: ports}) })
}

// layer adds a link that the boot makes itself; each name exists once.
func (p *netParser) layer(name string, add func()) error {
	for _, v := range p.net.VLANs {
		if v.Name == name {
			return fmt.Errorf("link %s is made twice", name)
		}
	}

	for _, b := range p.net.Bonds {
		if b.Name == name {
			return fmt.Errorf("link %s is made twice", name)
		}
	}

	for _, b := range p.net.Bridges {
		if b.Name == name {
			return fmt.Errorf("link %s is made twice", name)
		}
	}

	add()
	return nil
}

func parsePorts(name, list string) ([]string, error) {
	ports := strings.Split(list, ",")
	if len(ports) > maxLayers {
		return nil, fmt.Errorf("%s has more than %d links", name, maxLayers)
	}
	for i, port := range ports {
		if !isLinkName(port) {
			return nil, badName(port)
		}
		if port == name || slices.Contains(ports[:i], port) {
			return nil, fmt.Errorf("%s cannot carry %s twice or itself", name, port)
		}
	}
	return ports, nil
}
