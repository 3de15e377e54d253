package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"latchkey/discover/dns"
)

// Limits of asking a DNS server.
const (
	dnsPort    = 53
	udpTime    = time.Second
	tcpTime    = 3 * time.Second
	maxServers = 8
	maxChain   = 8 // CNAMEs followed inside one answer
)

// errNoName is returned for a name that the servers do not have.
var errNoName = errors.New("no such name")

// A resolver asks the DNS servers of one link: RFC 1035.
type resolver struct {
	sockets Sockets
	link    Interface
}

// hedge is how long a server may be silent before the next is asked, too:
// a dead one must not cost its whole time.
const hedge = 200 * time.Millisecond

// ask asks the servers in turn, the next one when one fails or stays
// silent, and returns the first answer that says something. A server that
// knows nothing of the name does not end it: of two networks one may be
// the wrong one.
func (r resolver) ask(ctx context.Context, name dns.Name, t dns.Type) (*dns.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		m   *dns.Message
		err error
	}

	servers := r.link.DNS[:min(len(r.link.DNS), maxServers)]
	results := make(chan result, len(servers))
	failed := fmt.Errorf("asking DNS for %s: no server", name)
	for asked, answered := 0, 0; answered < len(servers); {
		var silent <-chan time.Time
		if asked < len(servers) {
			server := servers[asked]
			asked++
			go func() {
				m, err := r.twice(ctx, server, dns.Question{Name: name, Type: t, Class: dns.ClassIN})
				results <- result{m, err}
			}()
			silent = time.After(hedge)
		}
		select {
		case got := <-results:
			answered++
			if got.err == nil {
				return got.m, nil
			}
			if !errors.Is(failed, errNoName) {
				failed = fmt.Errorf("asking DNS for %s: %w", name, got.err)
			}
		case <-silent:
		}
	}

	return nil, failed
}

// twice asks one server, and again if a packet was lost.
func (r resolver) twice(ctx context.Context, server netip.Addr, q dns.Question) (m *dns.Message, err error) {
	for range 2 {
		m, err = r.exchange(ctx, server, q)
		if err == nil || errors.Is(err, errNoName) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("server %s: %w", server, err)
	}
	return m, err
}

// addresses asks for A and AAAA at once and calls found, one call at a
// time, with each address as it comes: neither waits for the other. It
// returns the shortest time to live.
func (r resolver) addresses(ctx context.Context, host dns.Name, found func(netip.Addr, time.Duration)) (time.Duration, error) {
	var mu sync.Mutex
	var failed error
	seen := map[netip.Addr]bool{}
	least := maxTTL
	var both sync.WaitGroup

	for _, t := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
		both.Go(func() {
			m, err := r.ask(ctx, host, t)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			for _, rec := range follow(m, host) {
				ttl := max(time.Duration(rec.TTL)*time.Second, time.Second)
				if a := addrOf(rec.Data); isHost(a) && !seen[a] && len(seen) < maxAddresses {
					seen[a], least = true, min(least, ttl)
					found(a, ttl)
				}
			}
		})
	}

	both.Wait()
	if len(seen) == 0 {
		return 0, cmp.Or(failed, errNoName)
	}
	return least, nil
}

func addrOf(d dns.Data) netip.Addr {
	switch d := d.(type) {
	case dns.A:
		return d.Addr
	case dns.AAAA:
		return d.Addr
	}
	return netip.Addr{}
}

// follow returns the records of a name, through its aliases.
func follow(m *dns.Message, name dns.Name) []dns.Record {
	for range maxChain {
		var found []dns.Record
		next := dns.Name("")
		for _, r := range slices.Concat(m.Answers, m.Additionals) {
			if !r.Name.Equal(name) || r.Class != dns.ClassIN {
				continue
			}
			if alias, ok := r.Data.(dns.CNAME); ok {
				next = alias.Target
				continue
			}
			found = append(found, r)
		}
		if len(found) > 0 || next == "" {
			return found
		}

		name = next
	}
	return nil
}
