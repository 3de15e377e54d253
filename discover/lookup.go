package discover

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/discover/dns"
	"latchkey/internal/order"
)

// A name is asked for again no sooner than minRefresh after it was found,
// and no later than maxRefresh: a KMS may have moved.
const (
	minRefresh = 30 * time.Second
	maxRefresh = 5 * time.Minute
)

// maxSRV caps the servers that one SRV answer leads to.
const maxSRV = 16

var errNothing = errors.New("DNS knows no key server")

// question is what the DNS servers of a link are asked for.
type question struct {
	name    dns.Name
	target  target // for a host
	service string // for SRV
}

// questionsFor lists the hosts of URLs, and the services in the domains of
// the link. Names under .local are among them: RFC 6762, section 3, lets
// DNS be asked at the same time as multicast, and there are companies and
// routers whose servers have such a domain. A host of one label is looked
// for in the link's domains first.
func (f *Finder) questionsFor(l Interface) []question {
	var out []question
	add := func(q question, name string) {
		if q.name = dns.Name(name); q.name.Check() == nil && len(out) < 4*maxTargets {
			out = append(out, q)
		}
	}
	under := func(domain string) string { return "." + strings.ToLower(strings.TrimSuffix(domain, ".")) }

	for _, t := range f.targets {
		if t.addr.IsValid() {
			continue
		}
		if !strings.Contains(t.host, ".") {
			for _, d := range l.Domains {
				add(question{target: t}, t.host+under(d))
			}
		}
		add(question{target: t}, t.host)
	}

	for _, s := range f.services {
		kind := strings.TrimSuffix(string(s), ".local")
		for _, d := range l.Domains {
			add(question{service: kind}, kind+under(d))
		}
	}

	return out
}

func (f *Finder) asksServers(l Interface) bool { return len(f.questionsFor(l)) > 0 }

// lookUp asks the DNS servers of a link, all questions at once, until one
// round brings nothing.
func (f *Finder) lookUp(ctx context.Context, l Interface) error {
	r := resolver{f.sockets, l}
	for {
		var mu sync.Mutex
		var failed error = errNothing
		next := time.Duration(0)
		var wg sync.WaitGroup

		for _, q := range f.questionsFor(l) {
			wg.Go(func() {
				ttl, err := f.lookUpOne(ctx, r, q)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = err
				} else if next == 0 || ttl < next {
					next = ttl
				}
			})
		}

		wg.Wait()
		if next == 0 {
			return failed
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(jitter(min(max(next, minRefresh), maxRefresh))):
		}
	}
}

// lookUpOne asks one question and offers what it leads to.
func (f *Finder) lookUpOne(ctx context.Context, r resolver, q question) (time.Duration, error) {
	if q.service != "" {
		return f.lookUpService(ctx, r, q)
	}
	return r.addresses(ctx, q.name, func(a netip.Addr, ttl time.Duration) {
		f.addDNS(r.link, Candidate{Addr: netip.AddrPortFrom(a, q.target.portOr(DefaultPort)), URL: q.target.url, Host: q.target.host}, ttl)
	})
}

// lookUpService asks for SRV records (RFC 2782) and for the addresses that
// did not come with them.
func (f *Finder) lookUpService(ctx context.Context, r resolver, q question) (time.Duration, error) {
	m, err := r.ask(ctx, q.name, dns.TypeSRV)
	if err != nil {
		return 0, err
	}

	servers := follow(m, q.name)
	servers = slices.DeleteFunc(servers, func(rec dns.Record) bool {
		srv, ok := rec.Data.(dns.SRV)
		return !ok || srv.Port == 0 || srv.Target == "" // "." is no service
	})
	order.By(servers, func(a, b dns.Record) int {
		return int(a.Data.(dns.SRV).Priority) - int(b.Data.(dns.SRV).Priority)
	})

	var mu sync.Mutex
	least, failed := time.Duration(0), errNothing
	var all sync.WaitGroup
	for _, rec := range servers[:min(len(servers), maxSRV)] {
		srv := rec.Data.(dns.SRV)
		all.Go(func() {
			ttl, err := r.addresses(ctx, srv.Target, func(a netip.Addr, ttl time.Duration) {
				f.addDNS(r.link, Candidate{Addr: netip.AddrPortFrom(a, srv.Port), Host: string(srv.Target.Key()), Service: q.service}, ttl)
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			} else if least == 0 || ttl < least {
				least = ttl
			}
		})
	}

	all.Wait()
	if least == 0 {
		return 0, failed
	}
	return least, nil
}

func (f *Finder) addDNS(l Interface, c Candidate, ttl time.Duration) {
	c.Addr = netip.AddrPortFrom(zoned(c.Addr.Addr(), l), c.Addr.Port())
	c.Link, c.Source = l.Name, FromDNS
	f.found(c, max(ttl, maxRefresh)+minRefresh, netip.Addr{})
}
