package plan

func (s *scan) net(n *Net) {
	s.list(may, "ip", func() { s.ip(n) })
	s.list(may, "ifname", func() { s.linkName(n) })
	s.macAt(may, "bootif", &n.BootMAC)
	scanText(s, may, "bootdev", &n.BootDev)
	s.addrs(may, "nameserver", &n.Nameservers)
	s.bool(may, "no_peerdns", &n.NoPeerDNS)
	s.list(may, "route", func() { s.route(n) })
	s.list(may, "vlan", func() { s.vlan(n) })
	s.list(may, "bond", func() { s.bond(n) })
	s.list(may, "bridge", func() { s.bridge(n) })
	s.objectAt(may, "timeouts", func() {
		scanInt(s, may, "dhcp_ns", &n.Timeouts.DHCP)
		scanInt(s, may, "iflink_ns", &n.Timeouts.IfLink)
		scanInt(s, may, "ifup_ns", &n.Timeouts.IfUp)
		scanInt(s, may, "ipv6auto_ns", &n.Timeouts.IPv6Auto)
		scanInt(s, may, "carrier_ns", &n.Timeouts.Carrier)
	})
	s.bool(may, "keep", &n.Keep)
}

func (s *scan) ip(n *Net) {
	var ip IP
	s.object(func() {
		scanText(s, may, "link", &ip.Link)
		scanTexts(s, must, "method", &ip.Methods)
		s.prefixAt(may, "address", &ip.Address)
		s.addrAt("peer", &ip.Peer)
		s.addrAt("gateway", &ip.Gateway)
		scanText(s, may, "hostname", &ip.Hostname)
		scanInt(s, may, "mtu", &ip.MTU)
		s.macAt(may, "mac", &ip.MAC)
		s.addrs(may, "dns", &ip.DNS)
	})
	n.IPs = append(n.IPs, ip)
}

func (s *scan) linkName(n *Net) {
	var l LinkName
	s.object(func() {
		scanText(s, must, "name", &l.Name)
		s.macAt(must, "mac", &l.MAC)
	})
	n.Names = append(n.Names, l)
}

func (s *scan) route(n *Net) {
	var r Route
	s.object(func() {
		s.prefixAt(must, "to", &r.To)
		s.addrAt("via", &r.Via)
		scanText(s, may, "link", &r.Link)
	})
	n.Routes = append(n.Routes, r)
}

func (s *scan) vlan(n *Net) {
	var v VLAN
	s.object(func() {
		scanText(s, must, "name", &v.Name)
		scanText(s, must, "on", &v.On)
		scanInt(s, must, "id", &v.ID)
	})
	n.VLANs = append(n.VLANs, v)
}

func (s *scan) bond(n *Net) {
	var b Bond
	s.object(func() {
		scanText(s, must, "name", &b.Name)
		scanTexts(s, must, "ports", &b.Ports)
		s.list(may, "options", func() {
			var o BondOption
			s.object(func() {
				scanText(s, must, "name", &o.Name)
				scanText(s, must, "value", &o.Value)
			})
			b.Options = append(b.Options, o)
		})
		scanInt(s, may, "mtu", &b.MTU)
	})
	n.Bonds = append(n.Bonds, b)
}

func (s *scan) bridge(n *Net) {
	var b Bridge
	s.object(func() {
		scanText(s, must, "name", &b.Name)
		scanTexts(s, must, "ports", &b.Ports)
	})
	n.Bridges = append(n.Bridges, b)
}
