package netup

import (
	"net/netip"
	"slices"
	"time"
)

// view is what others see of a link.
func (n *network) view(l *link) Link {
	v := Link{Index: l.dev.Index, Name: l.dev.Name, Kind: l.dev.Kind, MAC: l.dev.MAC, Up: l.dev.Carrier, Lease: l.lease}
	for _, a := range l.dev.Addrs {
		if !a.Tentative {
			v.Addrs = append(v.Addrs, a.Prefix)
		}
	}

	servers := slices.Clone(n.settings.Nameservers)
	for _, line := range n.lines(l.dev) {
		servers = append(servers, line.DNS...)
		if line.Link != "" || !line.Address.IsValid() || n.homes[line.Address] == l.dev.Index {
			v.Gateways = add(v.Gateways, line.Gateway)
			v.Plan = append(v.Plan, line)
		}
	}

	if l.lease != nil {
		v.Gateways = add(v.Gateways, l.lease.Gateways...)
		v.Domains = slices.Clone(l.lease.Domains)
		servers = append(servers, n.peerDNS(l.lease.DNS)...)
	}

	now := time.Now()
	v.Gateways = add(v.Gateways, l.routers.gateways(now)...)
	servers = append(servers, n.peerDNS(l.routers.servers(now))...)
	servers = append(servers, n.peerDNS(l.dhcp6.DNS)...)
	v.DNS = add(nil, servers...)
	for _, d := range slices.Concat(l.routers.domains(now), l.dhcp6.Domains) {
		if !slices.Contains(v.Domains, d) && len(v.Domains) < maxDomains {
			v.Domains = append(v.Domains, d)
		}
	}

	return v
}

// peerDNS are the servers of the network, unless rd.peerdns=0.
func (n *network) peerDNS(servers []netip.Addr) []netip.Addr {
	if n.settings.NoPeerDNS {
		return nil
	}
	return servers
}

// add appends those addresses that are valid and not there yet.
func add(list []netip.Addr, more ...netip.Addr) []netip.Addr {
	for _, a := range more {
		if a.IsValid() && !slices.Contains(list, a) && len(list) < 2*maxServers {
			list = append(list, a)
		}
	}
	return list
}
