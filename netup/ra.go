package netup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Option numbers of router advertisements: RFC 4861, section 4.6, and RFC
// 8106, section 5.
const (
	optRDNSS   = 25
	optDNSSL   = 31
	raHeader   = 16 // RFC 4861, section 4.2
	raType     = 134
	rsType     = 133
	optionUnit = 8
)

// maxRA is the largest advertisement that is read, in bytes.
const maxRA = 9216

var errRA = errors.New("malformed router advertisement")

// parseRA reads an ICMPv6 router advertisement: RFC 4861, section 6.1.2.
func parseRA(p []byte) (Router, error) {
	if len(p) < raHeader || p[0] != raType || p[1] != 0 {
		return Router{}, errRA
	}
	r := Router{
		Managed: p[5]&0x80 != 0, OtherConfig: p[5]&0x40 != 0,
		Lifetime: time.Duration(binary.BigEndian.Uint16(p[6:])) * time.Second,
	}
	for p = p[raHeader:]; len(p) > 0; {
		if len(p) < 2 {
			return Router{}, errRA
		}
		size := int(p[1]) * optionUnit
		if size == 0 || size > len(p) {
			return Router{}, fmt.Errorf("%w: option %d has %d bytes", errRA, p[0], size)
		}
		r.option(p[0], p[:size])
		p = p[size:]
	}

	return r, nil
}

// option reads one option; what is malformed inside is left out.
func (r *Router) option(kind byte, o []byte) {
	switch kind {
	case optRDNSS: // RFC 8106, section 5.1
		if len(o) < 24 {
			return
		}
		for s := o[8:]; len(s) >= 16; s = s[16:] {
			if a := netip.AddrFrom16([16]byte(s)); isUnicast(a) {
				r.DNS = lasting(r.DNS, a, lifetime(o), maxServers)
			}
		}

	case optDNSSL: // RFC 8106, section 5.2
		if len(o) < 16 {
			return
		}
		for _, d := range labels(o[8:]) {
			if clean(d) != "" {
				r.Domains = lasting(r.Domains, d, lifetime(o), maxDomains)
			}
		}
	}
}

// lifetime is the one of an RDNSS or DNSSL option; all ones is for ever, and
// no boot takes so long.
func lifetime(o []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(o[4:])) * time.Second
}

// lasting adds a value unless it is there or there are limit of them.
func lasting[T comparable](list []Lasting[T], value T, d time.Duration, limit int) []Lasting[T] {
	if len(list) == limit || slices.ContainsFunc(list, func(l Lasting[T]) bool { return l.Value == value }) {
		return list
	}
	return append(list, Lasting[T]{value, d})
}

// labels reads domain names without compression, padded with zeros: RFC
// 1035, section 3.1.
func labels(p []byte) []string {
	var names []string
	var name []string
	for len(p) > 0 {
		n := int(p[0])
		switch {
		case n > 63 || 1+n > len(p):
			return names
		case n == 0:
			if len(name) > 0 {
				names = append(names, strings.Join(name, "."))
			}
			name = nil
		default:
			name = append(name, string(p[1:1+n]))
		}
		p = p[1+n:]
	}

	return names
}

// allRouters is the group that solicitations go to.
var allRouters = netip.MustParseAddr("ff02::2")

// raBurst is how many advertisements are looked at together; of more, one
// each raPause. Each costs a look at all links.
const (
	raBurst = 16
	raPause = 50 * time.Millisecond
)

// A solicitor asks for routers and listens to them.
type solicitor struct {
	conn net.PacketConn // NDP
	mac  net.HardwareAddr
	told func(Router)
}

// run asks until a router answers, for ever, and listens on.
func (s *solicitor) run(ctx context.Context, conn net.PacketConn) {
	s.conn = conn
	stop := context.AfterFunc(ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	answered, wait, started := false, firstRetry, time.Now()
	for ctx.Err() == nil {
		next := wait
		if !answered && !s.ask() {
			next = unsentRetry(started)
		} else {
			wait = min(2*wait, lastRetry)
		}

		until := time.Now().Add(jitter(next))
		for heard := 0; ; heard++ {
			r, err := s.hear(ctx, until)
			if err != nil {
				break
			}
			answered = true
			s.told(r)
			if heard >= raBurst { // a flood costs no more than this
				pause(ctx, raPause)
			}
		}

		pause(ctx, min(time.Until(until), firstRetry)) // only if hearing fails at once
	}
}

// unsentRetry is how soon something is sent again that could not be,
// because the link has no link-local address yet: the kernel gives it one
// up to a second after the carrier, or never.
func unsentRetry(started time.Time) time.Duration {
	if time.Since(started) > 5*time.Second {
		return time.Second
	}
	return 50 * time.Millisecond
}

// ask sends a solicitation with our link-layer address: RFC 4861, section
// 4.1. The kernel fills in the checksum. It tells whether it was sent.
func (s *solicitor) ask() bool {
	p := []byte{rsType, 0, 0, 0, 0, 0, 0, 0}
	if len(s.mac) == 6 {
		p = append(append(p, 1, 1), s.mac...)
	}
	if _, err := s.conn.WriteTo(p, &net.IPAddr{IP: allRouters.AsSlice()}); err != nil {
		return false
	}
	return true
}

// hear waits for an advertisement.
func (s *solicitor) hear(ctx context.Context, until time.Time) (Router, error) {
	if err := s.conn.SetReadDeadline(until); err != nil {
		return Router{}, err
	}
	packet := make([]byte, maxRA)
	for {
		if err := ctx.Err(); err != nil {
			return Router{}, err
		}
		n, from, err := s.conn.ReadFrom(packet)
		if err != nil {
			return Router{}, err
		}

		r, err := parseRA(packet[:n])
		addr, ok := from.(*net.IPAddr)
		if err != nil || !ok {
			continue
		}

		if r.Address, ok = netip.AddrFromSlice(addr.IP); !ok || !r.Address.IsLinkLocalUnicast() {
			continue
		}
		return r, nil
	}
}
