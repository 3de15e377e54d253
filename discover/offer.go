package discover

import (
	"net/netip"
	"time"

	"latchkey/discover/dns"
)

// followUpAgain is how long an unanswered follow-up question rests.
const followUpAgain = time.Second

// offer puts the candidates that a packet has news of into the pool: what
// else the cache holds has been offered before, and in a flood would only
// crowd the others out.
func (b *browser) offer(news map[dns.Name]bool, from netip.Addr) {
	for _, t := range b.f.targets {
		if !news[dns.Name(t.host)] {
			continue
		}
		b.addresses(dns.Name(t.host), func(a netip.Addr, ttl time.Duration) {
			b.add(Candidate{Addr: netip.AddrPortFrom(a, t.portOr(DefaultPort)), URL: t.url, Host: t.host}, ttl, from)
		})
	}
	for _, s := range b.f.services {
		for key, instance := range b.cache.names(s) {
			b.offerInstance(s, instance, news[key], news, from)
		}
	}
}

func (b *browser) offerInstance(service, instance dns.Name, isNews bool, news map[dns.Name]bool, from netip.Addr) {
	label, _ := instance.Cut()
	kind := string(service[:len(service)-len(".local")])
	var text []string
	b.cache.each(instance, dns.TypeTXT, func(d dns.Data, _ time.Duration) { text = d.(dns.TXT).Strings() })

	b.cache.each(instance, dns.TypeSRV, func(d dns.Data, ttlSRV time.Duration) {
		srv := d.(dns.SRV)
		host := srv.Target.Key()
		if srv.Port == 0 || !isNews && !news[host] {
			return
		}
		b.addresses(srv.Target, func(a netip.Addr, ttl time.Duration) {
			b.add(Candidate{
				Addr: netip.AddrPortFrom(a, srv.Port), URL: b.urlOf(string(host), srv.Port), Host: string(host),
				Service: kind, Instance: label, Text: text,
			}, min(ttl, ttlSRV), from)
		})
	})
}

// urlOf returns the URL of the query that an instance's host stands for:
// Kairos' nodes take the port from the SRV record.
func (b *browser) urlOf(host string, port uint16) string {
	for _, t := range b.f.targets {
		if t.host == host && (t.port == 0 || t.port == port) {
			return t.url
		}
	}
	return ""
}

func (b *browser) add(c Candidate, ttl time.Duration, from netip.Addr) {
	c.Link, c.Source = b.link.Name, FromMDNS
	b.f.found(c, ttl, from)
}

// addresses calls do with each usable address of a host.
func (b *browser) addresses(host dns.Name, do func(netip.Addr, time.Duration)) {
	b.cache.each(host, dns.TypeA, func(d dns.Data, ttl time.Duration) {
		if a := d.(dns.A).Addr; b.usable(a) {
			do(a, ttl)
		}
	})
	b.cache.each(host, dns.TypeAAAA, func(d dns.Data, ttl time.Duration) {
		if a := d.(dns.AAAA).Addr; b.usable(a) {
			do(zoned(a, b.link), ttl)
		}
	})
}

// usable filters what cannot be a server: the broadcast addresses of the
// link, and loopback unless the link is the loopback.
func (b *browser) usable(a netip.Addr) bool {
	if a.IsLoopback() {
		return b.link.loopback()
	}
	for _, p := range b.link.Addrs {
		if a.Is4() && p.Bits() < 31 && p.Contains(a) && !p.Contains(a.Next()) {
			return false
		}
	}
	return isHost(a)
}

func (i Interface) loopback() bool {
	for _, p := range i.Addrs {
		if p.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

// goodbye takes back what a record with TTL 0 led to: RFC 6762, section
// 10.1.
func (b *browser) goodbye(r dns.Record) {
	b.f.pool.withdraw(func(c Candidate) bool {
		if c.Source != FromMDNS || c.Link != b.link.Name {
			return false
		}
		instance := dns.Label(c.Instance).Under(dns.Name(c.Service + ".local"))
		switch d := r.Data.(type) {
		case dns.PTR:
			return c.Instance != "" && d.Target.Equal(instance)
		case dns.SRV:
			return c.Instance != "" && r.Name.Equal(instance) && d.Port == c.Addr.Port()
		case dns.A:
			return r.Name.Equal(dns.Name(c.Host)) && d.Addr == c.Addr.Addr()
		case dns.AAAA:
			return r.Name.Equal(dns.Name(c.Host)) && d.Addr == c.Addr.Addr().WithZone("")
		}

		return false
	})
}

// followUp asks for what is missing between an instance and its address.
func (b *browser) followUp() {
	var qs []dns.Question
	now := time.Now()
	ask := func(name dns.Name, types ...dns.Type) {
		if now.Before(b.asked[name.Key()]) || len(qs) >= maxInstances {
			return
		}
		if len(b.asked) > 4*maxInstances {
			clear(b.asked)
		}
		b.asked[name.Key()] = now.Add(followUpAgain)
		for _, t := range types {
			qs = append(qs, dns.Question{Name: name, Type: t, Unicast: true})
		}
	}
	for _, s := range b.f.services {
		for _, instance := range b.cache.names(s) {
			known := false
			b.cache.each(instance, dns.TypeSRV, func(d dns.Data, _ time.Duration) {
				known = true
				target, found := d.(dns.SRV).Target, false
				b.addresses(target, func(netip.Addr, time.Duration) { found = true })
				if !found {
					ask(target, dns.TypeA, dns.TypeAAAA)
				}
			})
			if !known {
				ask(instance, dns.TypeSRV, dns.TypeTXT)
			}
		}
	}

	if err := b.ask(qs); err != nil {
		b.f.log.Debug("asking for the rest of an answer", "link", b.link.Name, "error", err)
	}
}
