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
	b.cache.each(instance, dns.TypeTXT, func(d dns.Data, _ life) { text = d.(dns.TXT).Strings() })

	b.cache.each(instance, dns.TypeSRV, func(d dns.Data, l life) {
		srv := d.(dns.SRV)
		host := srv.Target.Key()
		if srv.Port == 0 || !isNews && !news[host] {
			return
		}
		b.addresses(srv.Target, func(a netip.Addr, ttl time.Duration) {
			b.add(Candidate{
				Addr: netip.AddrPortFrom(a, srv.Port), URL: b.urlOf(string(host), srv.Port), Host: string(host),
				Service: kind, Instance: label, Text: text,
			}, min(ttl, time.Until(l.expires)), from)
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
	b.cache.each(host, dns.TypeA, func(d dns.Data, l life) {
		if a := d.(dns.A).Addr; b.usable(a) {
			do(a, time.Until(l.expires))
		}
	})
	b.cache.each(host, dns.TypeAAAA, func(d dns.Data, l life) {
		if a := d.(dns.AAAA).Addr; b.usable(a) {
			do(zoned(a, b.link), time.Until(l.expires))
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

// goodbye takes back what a record led to that is gone: RFC 6762, section
// 10.1.
func (b *browser) goodbye(r cacheKey) {
	b.f.pool.withdraw(func(c Candidate) bool {
		if c.Source != FromMDNS || c.Link != b.link.Name {
			return false
		}
		instance := dns.Label(c.Instance).Under(dns.Name(c.Service + ".local"))
		switch d := r.data.(type) {
		case dns.PTR:
			return c.Instance != "" && d.Target.Equal(instance)
		case dns.SRV:
			return c.Instance != "" && r.name.Equal(instance) && d.Port == c.Addr.Port()
		case dns.A:
			return r.name.Equal(dns.Name(c.Host)) && d.Addr == c.Addr.Addr()
		case dns.AAAA:
			return r.name.Equal(dns.Name(c.Host)) && d.Addr == c.Addr.Addr().WithZone("")
		}

		return false
	})
}

// followUp asks at once for what is missing between an instance and its
// address.
func (b *browser) followUp() {
	if err := b.ask(b.missing(time.Now(), b.direct), nil); err != nil {
		b.f.log.Debug("asking for the rest of an answer", "link", b.link.Name, "error", err)
	}
}

// missing are the questions for what is not known of the instances, less
// those that have been asked a moment ago.
func (b *browser) missing(now time.Time, unicast bool) []dns.Question {
	var qs []dns.Question
	ask := func(name dns.Name, types ...dns.Type) {
		if now.Before(b.asked[name.Key()]) || len(qs) >= maxInstances {
			return
		}
		if len(b.asked) > 4*maxInstances {
			clear(b.asked)
		}
		b.asked[name.Key()] = now.Add(followUpAgain)
		for _, t := range types {
			qs = append(qs, dns.Question{Name: name, Type: t, Unicast: unicast})
		}
	}

	for _, s := range b.f.services {
		for _, instance := range b.cache.names(s) {
			known := false
			b.cache.each(instance, dns.TypeSRV, func(d dns.Data, _ life) {
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
	return qs
}
