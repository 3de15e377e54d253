package netup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// The client asks sooner than the 4 s of RFC 2131, section 4.1: the first
// packets after carrier are often lost in a switch that learns the port,
// and a boot waits. From 4 s on it doubles, to 30 s.
const (
	firstRetry = 250 * time.Millisecond
	earlyRetry = 4 * time.Second
	lastRetry  = 30 * time.Second
	// patience is how long a port may stay closed after carrier (spanning
	// tree: 2 × 15 s) before the retries slow down.
	patience = time.Minute
	// requestTries bounds the requests to one DHCPv6 server before others
	// are asked.
	requestTries = 4
	// requestTime is how long a DHCPv4 server that offered something may
	// take to grant it; one that took long to offer may take twice as long.
	requestTime = 4 * time.Second
	// avoidTime is how long offers of a server are passed over that did not
	// grant what it offered, so that another one is heard.
	avoidTime = 3 * time.Second
)

var errNak = errors.New("DHCP server refused the request")

// A dhcp4 is a DHCP client (RFC 2131) on one link.
type dhcp4 struct {
	conn     net.PacketConn
	mac      net.HardwareAddr
	hostname string
	log      *slog.Logger
	last     netip.Addr // address of an earlier lease, asked for again
	// direct opens a socket that reaches the server alone.
	direct func() (net.PacketConn, error)
	// granted is called with each lease, and with nil when it ended.
	granted func(*Lease)
	// declined takes an address that another machine has.
	declined chan netip.Addr
	declines int

	started time.Time // of this acquisition, for the secs field
	xid     dhcpv4.TransactionID
	silent  netip.Addr // server that offered and did not grant
	avoid   time.Time  // its offers until then
}

// run asks for ever, and keeps the lease once there is one, until ctx ends.
func (d *dhcp4) run(ctx context.Context, conn net.PacketConn) {
	d.conn = conn
	stop := context.AfterFunc(ctx, func() { d.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	naks := 0
	for ctx.Err() == nil {
		lease, err := d.acquire(ctx)
		if err != nil {
			if naks++; ctx.Err() == nil {
				d.log.Warn("no address from DHCP; asking again", "error", err)
				pause(ctx, jitter(min(firstRetry<<min(naks, 7), lastRetry)))
			}
			continue
		}

		naks = 0
		for lease != nil && ctx.Err() == nil {
			d.last = lease.Address.Addr()
			d.granted(lease)
			lease = d.hold(ctx, *lease)
		}

		if ctx.Err() == nil {
			d.granted(nil)
		}
	}
}

// acquire goes from INIT to BOUND: RFC 2131, figure 5.
func (d *dhcp4) acquire(ctx context.Context) (*Lease, error) {
	d.started = time.Now()
	d.xid = newXID()
	reply, err := d.discover(ctx)
	if err != nil {
		return nil, err
	}
	offer, err := parseLease(reply)
	if err != nil {
		return nil, err
	}
	if reply.MessageType() == dhcpv4.MessageTypeAck { // rapid commit
		return &offer, nil
	}
	return d.request(ctx, offer)
}

// request asks for what a server offered: RFC 2131, section 4.3.2.
func (d *dhcp4) request(ctx context.Context, offer Lease) (*Lease, error) {
	request := d.message(dhcpv4.MessageTypeRequest,
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.Server.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.Address.Addr().AsSlice())))
	end := time.Now().Add(max(requestTime, 2*time.Since(d.started)))
	for wait := firstRetry; time.Now().Before(end); wait = min(2*wait, earlyRetry) {
		reply, err := d.exchange(ctx, request, d.broadcast, time.Now().Add(jitter(wait)))
		if err == nil && reply.MessageType() == dhcpv4.MessageTypeNak {
			d.last = netip.Addr{}
			return nil, fmt.Errorf("%w for %s", errNak, offer.Address)
		}
		if err == nil && reply.MessageType() == dhcpv4.MessageTypeAck {
			lease, err := parseLease(reply)
			return &lease, err
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
	}

	d.silent, d.avoid = offer.Server, time.Now().Add(avoidTime)
	return nil, fmt.Errorf("DHCP server %s offered %s and fell silent", offer.Server, offer.Address)
}

// discover asks until a server offers something usable. The transaction
// stays the same, so that a slow offer to an early question counts.
func (d *dhcp4) discover(ctx context.Context) (*dhcpv4.DHCPv4, error) {
	options := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))} // RFC 4039
	if d.last.IsValid() {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(d.last.AsSlice())))
	}
	for wait := firstRetry; ; wait = nextRetry(wait, d.started) {
		m := d.message(dhcpv4.MessageTypeDiscover, options...)
		reply, err := d.exchange(ctx, m, d.broadcast, time.Now().Add(jitter(wait)))
		if err == nil && reply.MessageType() != dhcpv4.MessageTypeNak {
			return reply, nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
	}
}

// nextRetry doubles a wait, up to a limit that is low as long as the port
// may not be forwarding yet.
func nextRetry(wait time.Duration, started time.Time) time.Duration {
	limit := earlyRetry
	if time.Since(started) > patience {
		limit = lastRetry
	}
	return min(wait*2, limit)
}

func newXID() (xid dhcpv4.TransactionID) {
	v := rand.Uint32()
	return dhcpv4.TransactionID{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

// jitter is d give or take a fifth, so that machines that woke together
// do not ask together.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}

// pause waits, and tells whether ctx still stands.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
