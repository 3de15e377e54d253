package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Check tells what is wrong with settings that were not made by ParseNet:
// those of a plan file.
func (n Net) Check() error {
	for _, limit := range []struct {
		name      string
		have, max int
	}{
		{"ip", len(n.IPs), 3 * maxIPs}, // those of ip6= beside those of ip=
		{"ifname", len(n.Names), maxIPs},
		{"nameserver", len(n.Nameservers), maxServers},
		{"rd.route", len(n.Routes), maxRoutes},
		{"vlan", len(n.VLANs), maxLayers},
		{"bond", len(n.Bonds), maxLayers},
		{"bridge", len(n.Bridges), maxLayers},
	} {
		if limit.have > limit.max {
			return fmt.Errorf("net: %s has %d entries, the limit is %d", limit.name, limit.have, limit.max)
		}
	}

	for _, line := range n.IPs {
		if err := line.check(); err != nil {
			return fmt.Errorf("net: ip of %s: %w", nameOf(line.Link), err)
		}
	}
	for _, check := range []func() error{n.checkLayers, n.checkNames, n.checkRoutes, n.checkTimes} {
		if err := check(); err != nil {
			return fmt.Errorf("net: %w", err)
		}
	}
	return nil
}

func nameOf(link string) string {
	if link == "" {
		return "every link"
	}
	return link
}

// check tells what does not fit together in one line.
func (line IP) check() error {
	a := line.Address
	switch {
	case line.Link != "" && !isLinkName(line.Link):
		return badName(line.Link)
	case len(line.Methods) == 0:
		return fmt.Errorf("there is no method")
	case a.IsValid() && !isHost(a.Addr()):
		return fmt.Errorf("%s is not the address of a host", a)
	case a.IsValid() != slices.Contains(line.Methods, Static):
		return fmt.Errorf("the method static and an address stand together, or neither")
	case !isHostName(line.Hostname):
		return fmt.Errorf("%q is not a host name", line.Hostname)
	case line.MTU != 0 && (line.MTU < minMTU || line.MTU > maxMTU):
		return fmt.Errorf("MTU %d is not from %d to %d", line.MTU, minMTU, maxMTU)
	case len(line.DNS) > maxServers || slices.ContainsFunc(line.DNS, func(a netip.Addr) bool { return !isHost(a) }):
		return fmt.Errorf("DNS servers %v, want at most %d addresses of hosts", line.DNS, maxServers)
	}

	for i, m := range line.Methods {
		if !slices.Contains([]Method{DHCP, DHCP6, Auto6, Either6, Link6, Link4, Off6, Static, Off}, m) || slices.Contains(line.Methods[:i], m) {
			return fmt.Errorf("method %q is not known, or there twice", m)
		}
		if m == Off && len(line.Methods) > 1 {
			return fmt.Errorf("off has other methods beside it")
		}
	}

	for _, other := range []netip.Addr{line.Peer, line.Gateway} {
		if other.IsValid() && (!isHost(other) || a.IsValid() && (other.Is4() != a.Addr().Is4() || other == a.Addr())) {
			return fmt.Errorf("peer or gateway %s does not go with %s", other, a)
		}
	}
	return nil
}

// checkLayers judges the links that the boot makes itself.
func (n Net) checkLayers() error {
	seen := map[string]bool{}
	once := func(name string, below []string) error {
		if !isLinkName(name) {
			return badName(name)
		}
		if seen[name] {
			return fmt.Errorf("link %s is made twice", name)
		}
		seen[name] = true
		for i, port := range below {
			if !isLinkName(port) || port == name || slices.Contains(below[:i], port) || len(below) > maxLayers {
				return fmt.Errorf("link %s cannot carry %q", name, below)
			}
		}
		return nil
	}

	for _, v := range n.VLANs {
		if err := once(v.Name, []string{v.On}); err != nil {
			return err
		}
		if v.ID < 1 || v.ID > 4094 {
			return fmt.Errorf("VLAN %s has the number %d, want 1 to 4094", v.Name, v.ID)
		}
	}
	for _, b := range n.Bridges {
		if err := once(b.Name, b.Ports); err != nil {
			return err
		}
	}
	for _, b := range n.Bonds {
		if err := once(b.Name, b.Ports); err != nil {
			return err
		}
		if err := b.check(); err != nil {
			return fmt.Errorf("bond %s: %w", b.Name, err)
		}
	}
	return nil
}

func (b Bond) check() error {
	if len(b.Ports) == 0 || b.MTU != 0 && (b.MTU < minMTU || b.MTU > maxMTU) {
		return fmt.Errorf("want links and an MTU from %d to %d, or none", minMTU, maxMTU)
	}
	for i, o := range b.Options {
		if err := o.check(); err != nil {
			return err
		}
		if slices.ContainsFunc(b.Options[:i], func(p BondOption) bool { return p.Name == o.Name }) {
			return fmt.Errorf("option %s is there twice", o.Name)
		}
	}
	return nil
}

func (n Net) checkNames() error {
	for i, l := range n.Names {
		if !isLinkName(l.Name) {
			return badName(l.Name)
		}
		if l.MAC.HardwareAddr() == nil || slices.ContainsFunc(n.Names[:i], func(o LinkName) bool { return o.Name == l.Name || o.MAC == l.MAC }) {
			return fmt.Errorf("ifname %s: no hardware address, or one of them stands twice", l.Name)
		}
	}
	if n.BootDev != "" && !isLinkName(n.BootDev) {
		return fmt.Errorf("bootdev: %w", badName(n.BootDev))
	}
	return nil
}

func (n Net) checkRoutes() error {
	for _, a := range n.Nameservers {
		if !isNameserver(a) {
			return fmt.Errorf("%s is not the address of a name server", a)
		}
	}
	for _, r := range n.Routes {
		switch {
		case !r.To.IsValid() || r.To != r.To.Masked():
			return fmt.Errorf("route to %s: not a network", r.To)
		case r.Via.IsValid() && (!isHost(r.Via) || r.Via.Is4() != r.To.Addr().Is4()), !r.Via.IsValid() && r.Link == "":
			return fmt.Errorf("route to %s: no gateway that fits, nor a link", r.To)
		case r.Link != "" && !isLinkName(r.Link):
			return fmt.Errorf("route to %s: %w", r.To, badName(r.Link))
		}
	}
	return nil
}

func (n Net) checkTimes() error {
	t := n.Timeouts
	for _, d := range []time.Duration{t.DHCP, t.IfLink, t.IfUp, t.IPv6Auto, t.Carrier} {
		if d < 0 || d > maxSeconds*time.Second {
			return fmt.Errorf("timeout %s is not from 0 to %d s", d, maxSeconds)
		}
	}
	return nil
}
