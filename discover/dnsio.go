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
	"time"

	"latchkey/discover/dns"
)

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
