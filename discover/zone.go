package discover

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

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

// An Announcement is a key server to answer for.
type Announcement struct {
	Host     string       // "kms.local"
	Addrs    []netip.Addr // where it is; none: on this machine, at each link's own addresses
	Port     uint16
	Services []string // DNS-SD types, "_latchkey._tcp"
	Instance string   // the label people see; "" is the first label of Host
	Text     []string // TXT strings, key=value
}

// check tells what is wrong with an announcement.
func (a Announcement) check() error {
	host := strings.ToLower(strings.TrimSuffix(a.Host, "."))
	if !isHostName(host) || !isLocal(host) || host == "local" {
		return fmt.Errorf("host %q is not a name such as kms.local", a.Host)
	}

	for _, addr := range a.Addrs {
		if !isHost(addr.Unmap()) && !addr.IsLoopback() {
			return fmt.Errorf("target %s is not the address of a host", addr)
		}
	}

	if len(a.Services) > 0 && a.Port == 0 {
		return errors.New("a service needs a port")
	}
	for _, s := range a.Services {
		if _, err := serviceName(s); err != nil {
			return err
		}
	}

	for _, s := range a.Text {
		if s == "" || len(s) > 255 {
			return fmt.Errorf("text %q is not 1 to 255 bytes", s)
		}
	}

	if len(a.Instance) > 63 {
		return fmt.Errorf("instance %q has more than 63 bytes", a.Instance)
	}
	return nil
}

// An owned record is one that we answer for. A shared one others may have
// too; of a unique one there is no other: RFC 6762, section 2.
type owned struct {
	dns.Record
	shared bool
}

// A zone is what is answered on one link.
type zone struct{ records []owned }

// newZone makes the records of announcements for one link.
func newZone(all []Announcement, link Interface) zone {
	var z zone
	for _, a := range all {
		z.addHost(a, link)
		for _, s := range a.Services {
			z.addService(a, s)
		}
	}
	return z
}

func (z *zone) addHost(a Announcement, link Interface) {
	addrs := a.Addrs
	if len(addrs) == 0 {
		for _, p := range link.Addrs {
			addrs = append(addrs, p.Addr())
		}
	}
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		var data dns.Data = dns.A{Addr: addr}
		if addr.Is6() {
			data = dns.AAAA{Addr: addr}
		}
		z.add(owned{Record: dns.Record{Name: dns.Name(a.Host), TTL: hostTTL, Data: data}})
	}
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
