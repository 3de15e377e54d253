package discover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
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

// ask asks one server after the other, twice, and returns the first answer
// that says something. A server that knows nothing of the name does not
// end it: of two networks one may be the wrong one.
func (r resolver) ask(ctx context.Context, name dns.Name, t dns.Type) (*dns.Message, error) {
	if name.HasSuffix("local") {
		return nil, fmt.Errorf("asking DNS for %s: it is for multicast only (RFC 6762, section 22.1)", name)
	}
	var failed error
	for range 2 {
		for _, server := range r.link.DNS[:min(len(r.link.DNS), maxServers)] {
			m, err := r.exchange(ctx, server, dns.Question{Name: name, Type: t, Class: dns.ClassIN})
			if err == nil {
				return m, nil
			}
			failed = fmt.Errorf("asking DNS server %s for %s: %w", server, name, err)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		if errors.Is(failed, errNoName) {
			break
		}
	}
	return nil, failed
}

// exchange asks by UDP, and by TCP if the answer was cut off: RFC 7766,
// section 5.
func (r resolver) exchange(ctx context.Context, server netip.Addr, q dns.Question) (*dns.Message, error) {
	to := netip.AddrPortFrom(zoned(server, r.link), dnsPort)
	m, err := r.over(ctx, "udp", udpTime, to, q)
	if err == nil && m.Truncated {
		m, err = r.over(ctx, "tcp", tcpTime, to, q)
	}
	switch {
	case err != nil:
		return nil, err
	case m.RCode == 3 || m.RCode == 0 && len(m.Answers) == 0: // NXDOMAIN, NODATA
		return nil, errNoName
	case m.RCode != 0:
		return nil, fmt.Errorf("it answers code %d", m.RCode)
	}
	return m, nil
}

func (r resolver) over(ctx context.Context, network string, limit time.Duration, to netip.AddrPort, q dns.Question) (*dns.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := r.sockets.Dial(ctx, r.link, network, to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	query := &dns.Message{ID: uint16(rand.Uint32()), Recurse: true, Questions: []dns.Question{q}}
	packet, err := query.Pack()
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	for {
		packet, err := readDNS(conn, network)
		if err != nil {
			return nil, err
		}
		// Only what answers this very question counts: RFC 5452, section 9.1.
		m, err := dns.Parse(packet)
		if err == nil && m.Response && m.ID == query.ID && len(m.Questions) == 1 &&
			m.Questions[0].Name.Equal(q.Name) && m.Questions[0].Type == q.Type {
			return m, nil
		}
		if network == "tcp" {
			return nil, errors.New("it answers another question")
		}
	}
}

// readDNS reads one message; over TCP its length comes first: RFC 1035,
// section 4.2.2.
func readDNS(conn net.Conn, network string) ([]byte, error) {
	buf := make([]byte, dns.MaxMessage)
	if network != "tcp" {
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	if _, err := io.ReadFull(conn, buf[:2]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(buf))
	if size > len(buf) {
		return nil, fmt.Errorf("its answer has %d bytes, the limit is %d", size, len(buf))
	}
	_, err := io.ReadFull(conn, buf[:size])
	return buf[:size], err
}

// addresses asks for A and AAAA at once.
func (r resolver) addresses(ctx context.Context, host dns.Name) ([]netip.Addr, time.Duration, error) {
	type result struct {
		m   *dns.Message
		err error
	}
	kinds := []dns.Type{dns.TypeA, dns.TypeAAAA}
	results := make(chan result, len(kinds))
	for _, t := range kinds {
		go func() {
			m, err := r.ask(ctx, host, t)
			results <- result{m, err}
		}()
	}
	var found []netip.Addr
	var failed error
	ttl := uint32(maxTTL / time.Second)
	for range kinds {
		got := <-results
		if got.err != nil {
			failed = got.err
			continue
		}
		for _, rec := range follow(got.m, host) {
			if a := addrOf(rec.Data); isHost(a) && !slices.Contains(found, a) && len(found) < maxAddresses {
				found, ttl = append(found, a), min(ttl, rec.TTL)
			}
		}
	}
	if len(found) == 0 {
		return nil, 0, failed
	}
	return found, time.Duration(ttl) * time.Second, nil
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
