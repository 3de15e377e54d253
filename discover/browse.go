package discover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"latchkey/discover/dns"
)

// maxLeaving caps the goodbyes that wait for somebody to object.
const maxLeaving = 64

// graceTime is how long a record lives on after its goodbye, so that
// another machine that has it, too, can say so: RFC 6762, section 10.1.
const graceTime = time.Second

// A browser asks by multicast on one link in one IP version. Only one
// goroutine touches it.
type browser struct {
	f      *Finder
	link   Interface
	v6     bool
	conn   net.PacketConn
	direct bool // unicast answers reach us
	cache  *cache
	asked  map[dns.Name]time.Time // follow-up questions, and when to repeat them

	leaving  map[cacheKey]time.Time // records that said goodbye, and until when they stay
	interval time.Duration          // between the last question and the next
	askAt    time.Time
	askedAt  time.Time
	skipped  bool // another machine's question stood for our last one
}

func newBrowser(f *Finder, l Interface, v6 bool, conn net.PacketConn) *browser {
	return &browser{
		f: f, link: l, v6: v6, conn: conn, cache: newCache(),
		asked: map[dns.Name]time.Time{}, leaving: map[cacheKey]time.Time{},
	}
}

// browse asks and listens until ctx ends.
func (f *Finder) browse(ctx context.Context, l Interface, v6 bool) error {
	conn, err := f.sockets.Group(l, v6)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	packets, failed := make(chan heard), make(chan error, 2)
	go receive(ctx, conn, false, packets, failed)

	b := newBrowser(f, l, v6, conn)
	if direct, err := f.sockets.Direct(l, v6); err == nil {
		defer direct.Close()
		b.direct = true
		go receive(ctx, direct, true, packets, failed)
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("hearing mDNS on %s: %w", l.Name, err)
		case p := <-packets:
			b.hear(p)
		case <-timer.C:
		}

		next, err := b.tick(time.Now())
		if err != nil {
			return err
		}
		timer.Reset(time.Until(next))
	}
}

// tick does what is due, and returns when to call it again.
func (b *browser) tick(now time.Time) (time.Time, error) {
	for key, until := range b.leaving {
		if !now.Before(until) {
			delete(b.leaving, key)
			b.cache.remove(key)
			b.goodbye(key)
		}
	}

	if !now.Before(b.askAt) {
		if err := b.askAll(now); err != nil {
			return now, err
		}
	}

	next := b.askAt
	for _, until := range b.leaving {
		if until.Before(next) {
			next = until
		}
	}
	return next, nil
}

// hear judges one packet: RFC 6762, sections 6, 11 and 18. An answer need
// not repeat the question or its id. What comes to the group has been sent
// on this link, whatever its source address; what comes by unicast has only
// if that is an address of the link: section 11.
func (b *browser) hear(p heard) {
	from := p.from.AddrPort()
	near := b.link.onLink(from.Addr())
	if from.Port() != mdnsPort || p.direct && !near {
		return
	}
	m, err := dns.Parse(p.data)
	if err != nil || m.Opcode != 0 || m.RCode != 0 {
		return
	}
	if !m.Response {
		if !p.direct && !b.link.owns(from.Addr()) {
			b.overhear(m, time.Now())
		}
		return
	}

	news := map[dns.Name]bool{}
	for _, r := range slices.Concat(m.Answers, m.Authorities, m.Additionals) {
		if r.Class != dns.ClassIN || !b.wants(r) {
			continue
		}
		if r.TTL == 0 {
			b.leave(r, time.Now())
			continue
		}

		delete(b.leaving, keyOf(r))
		b.cache.put(r)
		news[r.Name.Key()] = true
		if ptr, ok := r.Data.(dns.PTR); ok {
			news[ptr.Target.Key()] = true
		}
	}

	if len(news) > 0 {
		teller := from.Addr()
		if !near {
			teller = netip.IPv4Unspecified() // all of them count as one: the address may be made up
		}
		b.offer(news, teller)
		b.followUp()
	}
}

// leave takes note of a goodbye. Another machine may have the record, too,
// so it stays for a moment, in which all is asked again; the next
// questions come as at the start.
func (b *browser) leave(r dns.Record, now time.Time) {
	key := keyOf(r)
	if _, known := b.leaving[key]; known || len(b.leaving) >= maxLeaving || !b.cache.has(key) {
		return
	}
	b.leaving[key] = now.Add(graceTime)
	b.interval = 0
	b.askAt = now.Add(pauseShared())
	if earliest := b.askedAt.Add(firstInterval); b.askAt.Before(earliest) {
		b.askAt = earliest
	}
}

// wants tells whether a record can lead to a key server.
func (b *browser) wants(r dns.Record) bool {
	switch d := r.Data.(type) {
	case dns.PTR:
		for _, s := range b.f.services {
			if r.Name.Equal(s) {
				return d.Target.HasSuffix(s)
			}
		}

	case dns.SRV, dns.TXT:
		return b.service(r.Name) != ""
	case dns.A:
		return isHost(d.Addr) || d.Addr.IsLoopback()
	case dns.AAAA:
		return isHost(d.Addr)
	}
	return false
}

// service returns the service that an instance belongs to, or "".
func (b *browser) service(instance dns.Name) dns.Name {
	_, parent := instance.Cut()
	for _, s := range b.f.services {
		if parent.Equal(s) {
			return s
		}
	}
	return ""
}
