package discover

import (
	"net/netip"
	"slices"

	"latchkey/discover/dns"
)

// TTLs of RFC 6762, section 10, in seconds.
const (
	hostTTL    = 120
	serviceTTL = 4500
	legacyTTL  = 10 // section 6.7
)

// serviceTypes lists the types of services that there are: RFC 6763,
// section 9.
const serviceTypes dns.Name = "_services._dns-sd._udp.local"

// An owned record is one that we answer for. A shared one others may have
// too; of a unique one there is no other: RFC 6762, section 2.
type owned struct {
	dns.Record
	shared bool
}

func (r owned) key() cacheKey { return keyOf(r.Record) }

// A zone is what is answered on one link.
type zone struct{ records []owned }

// newZone makes the records of announcements for one link. The names in
// common are those that other key servers have, too.
func newZone(all []Announcement, link Interface, common map[dns.Name]bool) zone {
	var z zone
	for _, a := range all {
		z.addHost(a, link, common[dns.Name(a.Host)])
		for _, s := range a.Services {
			z.addService(a, s)
		}
	}
	return z
}

func (z *zone) addHost(a Announcement, link Interface, shared bool) {
	addrs := a.Addrs
	if len(addrs) == 0 {
		addrs = link.published(a.OwnName)
	}
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		var data dns.Data = dns.A{Addr: addr}
		if addr.Is6() {
			data = dns.AAAA{Addr: addr}
		}
		z.add(owned{shared: shared, Record: dns.Record{Name: dns.Name(a.Host), TTL: hostTTL, Data: data}})
	}
}

// published are the addresses under which this machine is announced on the
// link: all of them, since a machine that got no address from anybody
// reaches only the link-local ones. Under the machine's own name the
// link-local ones are left out where there are others of that IP version,
// as avahi-daemon does it (avahi_interface_address_is_relevant): if the two
// said different things of one name, avahi would take another.
func (i Interface) published(ownName bool) []netip.Addr {
	var out []netip.Addr
	for _, p := range i.Addrs {
		a := p.Addr()
		wider := slices.ContainsFunc(i.Addrs, func(o netip.Prefix) bool {
			return o.Addr().Is6() == a.Is6() && !o.Addr().IsLinkLocalUnicast()
		})
		if ownName && wider && a.IsLinkLocalUnicast() || len(out) == maxHostAddrs {
			continue
		}
		out = append(out, a)
	}
	return out
}

func (z *zone) addService(a Announcement, service string) {
	name, err := serviceName(service)
	if err != nil {
		return // check has refused it
	}
	instance := dns.Label(a.Instance).Under(name)
	z.add(owned{shared: true, Record: dns.Record{Name: name, TTL: serviceTTL, Data: dns.PTR{Target: instance}}})
	z.add(owned{Record: dns.Record{Name: instance, TTL: hostTTL, Data: dns.SRV{Port: a.Port, Target: dns.Name(a.Host)}}})
	z.add(owned{Record: dns.Record{Name: instance, TTL: serviceTTL, Data: dns.Text(a.Text...)}})
	z.add(owned{shared: true, Record: dns.Record{Name: serviceTypes, TTL: serviceTTL, Data: dns.PTR{Target: name}}})
}

func (z *zone) add(r owned) {
	r.Class = dns.ClassIN
	if !z.has(r) {
		z.records = append(z.records, r)
	}
}

// has tells whether a record is in the zone.
func (z zone) has(r owned) bool {
	return slices.ContainsFunc(z.records, func(o owned) bool { return o.Name.Equal(r.Name) && o.Data == r.Data })
}

// of returns the records of a name and type.
func (z zone) of(name dns.Name, types ...dns.Type) []owned {
	var out []owned
	for _, r := range z.records {
		if r.Name.Equal(name) && (slices.Contains(types, r.Data.Type()) || slices.Contains(types, dns.TypeANY)) {
			out = append(out, r)
		}
	}
	return out
}

// unique tells whether all records of a name are ours.
func (z zone) unique(name dns.Name) bool {
	return slices.ContainsFunc(z.records, func(r owned) bool { return !r.shared && r.Name.Equal(name) })
}

// isClaimed tells whether a record's name is probed for: it is ours alone,
// or belongs to a host. Key servers that share a host's name must still not
// take it from a machine that is called so.
func (r owned) isClaimed() bool {
	t := r.Data.Type()
	return !r.shared || t == dns.TypeA || t == dns.TypeAAAA
}

// claims tells whether a name is one of those.
func (z zone) claims(name dns.Name) bool {
	return slices.ContainsFunc(z.records, func(r owned) bool { return r.isClaimed() && r.Name.Equal(name) })
}

// names are the names to be probed for, in lower case.
func (z zone) names() []dns.Name {
	var out []dns.Name
	for _, r := range z.records {
		if r.isClaimed() && !slices.Contains(out, r.Name.Key()) {
			out = append(out, r.Name.Key())
		}
	}
	return out
}

// sayable is that part of the zone that may be said when these names have
// been probed for: a record is left out as long as its own name, or the one
// that it leads to, has not.
func (z zone) sayable(sure map[dns.Name]bool) zone {
	ready := func(name dns.Name) bool { return !z.claims(name) || sure[name.Key()] }
	var out zone
	for _, r := range z.records {
		leadsTo := r.Name
		switch d := r.Data.(type) {
		case dns.PTR:
			leadsTo = d.Target
		case dns.SRV:
			leadsTo = d.Target
		}
		if ready(r.Name) && ready(leadsTo) {
			out.records = append(out.records, r)
		}
	}
	return out
}

// nsec says which types a name of ours has, and so that it has no others:
// RFC 6762, section 6.1.
func (z zone) nsec(name dns.Name) owned {
	var types []dns.Type
	for _, r := range z.of(name, dns.TypeANY) {
		if !slices.Contains(types, r.Data.Type()) {
			types = append(types, r.Data.Type())
		}
	}
	slices.Sort(types)
	return owned{Record: dns.Record{Name: name, Class: dns.ClassIN, TTL: hostTTL, Data: dns.NSEC{Next: name, Types: dns.Types(types...)}}}
}

// sameRole returns those host names of ours for which a message names the
// same service as we do: whoever sent it answers for another key server
// under the same name.
func (z zone) sameRole(records []dns.Record) []dns.Name {
	var hosts []dns.Name
	for _, r := range records {
		srv, ok := r.Data.(dns.SRV)
		if !ok || r.TTL == 0 {
			continue
		}
		_, service := r.Name.Cut()
		for _, o := range z.records {
			ours, ok := o.Data.(dns.SRV)
			if !ok || !ours.Target.Equal(srv.Target) || slices.Contains(hosts, ours.Target) {
				continue
			}
			if _, s := o.Name.Cut(); s.Equal(service) {
				hosts = append(hosts, ours.Target)
			}
		}
	}
	return hosts
}
