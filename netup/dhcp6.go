package netup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// The ports and the group of RFC 8415, section 7.
const (
	clientPort6 = 546
	serverPort6 = 547
)

var allServers = netip.MustParseAddr("ff02::1:2")

// maxPacket6 is the largest DHCPv6 message that is read, in bytes.
const maxPacket6 = 4096

// A dhcp6 is a DHCPv6 client (RFC 8415) on one link.
type dhcp6 struct {
	conn     net.PacketConn
	mac      net.HardwareAddr
	stateful bool       // an address too, not only settings
	last     netip.Addr // address of an earlier lease, asked for again
	log      *slog.Logger
	granted  func(Lease6) // a zero one when the lease ended

	started time.Time
}

// run asks for ever, and keeps the lease once there is one, until ctx ends.
func (d *dhcp6) run(ctx context.Context, conn net.PacketConn) {
	d.conn = conn
	stop := context.AfterFunc(ctx, func() { d.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	failures := 0
	for ctx.Err() == nil {
		d.started = time.Now()
		lease, err := d.acquire(ctx)
		if err != nil {
			if failures++; ctx.Err() == nil {
				d.log.Warn("no address from DHCPv6; asking again", "error", err)
				pause(ctx, jitter(min(firstRetry<<min(failures, 7), lastRetry)))
			}
			continue
		}

		failures = 0
		for lease != nil && ctx.Err() == nil {
			d.last = lease.Address
			d.granted(*lease)
			lease = d.hold(ctx, *lease)
		}
		if ctx.Err() == nil {
			d.granted(Lease6{})
		}
	}
}

// acquire is the exchange of RFC 8415, section 18.2.1 and 18.2.2, or of
// 18.2.6 if no address is wanted.
func (d *dhcp6) acquire(ctx context.Context) (*Lease6, error) {
	if !d.stateful {
		reply, err := d.exchange(ctx, dhcpv6.MessageTypeInformationRequest, 0)
		if err != nil {
			return nil, err
		}
		lease := settings6(reply)
		lease.Renew = max(reply.Options.InformationRefreshTime(refreshDefault), refreshMinimum)
		return &lease, nil
	}

	// An address of before is asked for again: on the same LAN the server
	// gives it back, which is what Confirm (section 18.2.3) would tell, and
	// the settings with it.
	reply, err := d.exchange(ctx, dhcpv6.MessageTypeSolicit, 0, d.identity(d.last), dhcpv6.WithRapidCommit)
	if err != nil {
		return nil, err
	}

	if reply.MessageType == dhcpv6.MessageTypeAdvertise {
		offer, err := parseLease6(reply)
		if err != nil {
			return nil, err
		}
		reply, err = d.exchange(ctx, dhcpv6.MessageTypeRequest, requestTries, d.identity(offer.Address),
			dhcpv6.WithOption(dhcpv6.OptServerID(reply.Options.ServerID())))
		if err != nil {
			return nil, err
		}
	}

	lease, err := parseLease6(reply)
	return &lease, err
}

// Times of RFC 8415, section 7.6: how long settings count that came without
// an address.
const (
	refreshDefault = 24 * time.Hour
	refreshMinimum = 10 * time.Minute
)

// identity is the IA_NA: one for each link, told apart by its address.
func (d *dhcp6) identity(a netip.Addr) dhcpv6.Modifier {
	ia := &dhcpv6.OptIANA{}
	copy(ia.IaId[:], d.mac[max(0, len(d.mac)-4):])
	if a.IsValid() {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
	}
	return dhcpv6.WithOption(ia)
}

// exchange sends a message, again and again if there is no answer, for
// ever if tries is 0.
func (d *dhcp6) exchange(ctx context.Context, t dhcpv6.MessageType, tries int, more ...dhcpv6.Modifier) (*dhcpv6.Message, error) {
	m, err := dhcpv6.NewMessage(more...)
	if err != nil {
		return nil, fmt.Errorf("making a DHCPv6 message: %w", err)
	}

	m.MessageType = t
	hardware := iana.HWTypeEthernet
	if isInfiniBand(d.mac) {
		hardware = iana.HWTypeInfiniband
	}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: hardware, LinkLayerAddr: lastingID(d.mac)}))
	m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList))
	to := &net.UDPAddr{IP: allServers.AsSlice(), Port: serverPort6}
	wait := firstRetry
	for sent := 0; tries == 0 || sent < tries; {
		m.UpdateOption(dhcpv6.OptElapsedTime(min(time.Since(d.started), 655350*time.Millisecond)))
		next := wait
		if _, err := d.conn.WriteTo(m.ToBytes(), to); err != nil {
			next = unsentRetry(d.started)
		} else {
			sent++
			wait = nextRetry(wait, d.started)
		}

		reply, err := d.listen(ctx, m, time.Now().Add(jitter(next)))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return reply, err
		}
	}

	return nil, fmt.Errorf("waiting for DHCPv6: %w", os.ErrDeadlineExceeded)
}

// advertiseTime is how long others may still outbid the first server. RFC
// 8415, section 18.2.1, waits for a second, but servers of one LAN answer
// within milliseconds of each other, and a boot waits.
const advertiseTime = 50 * time.Millisecond

// listen returns the best answer to m that is of use: an advertisement of
// the server that prefers itself most, anything else at once.
func (d *dhcp6) listen(ctx context.Context, m *dhcpv6.Message, until time.Time) (*dhcpv6.Message, error) {
	var best *dhcpv6.Message
	packet := make([]byte, maxPacket6)
	if err := d.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, _, err := d.conn.ReadFrom(packet)
		if err != nil && best != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			return best, nil
		}
		if err != nil {
			return nil, fmt.Errorf("waiting for DHCPv6: %w", err)
		}

		reply, err := dhcpv6.MessageFromBytes(packet[:n])
		if err != nil || reply.TransactionID != m.TransactionID || !d.answers(m, reply) {
			continue
		}
		if reply.MessageType != dhcpv6.MessageTypeAdvertise || preference(reply) == 255 {
			return reply, nil
		}
		if best == nil {
			if err := d.conn.SetReadDeadline(time.Now().Add(advertiseTime)); err != nil {
				return reply, nil
			}
		}
		if best == nil || preference(reply) > preference(best) {
			best = reply
		}
	}
}

// preference is 0 if the server does not tell: RFC 8415, section 18.2.9.
func preference(m *dhcpv6.Message) int {
	o := m.GetOneOption(dhcpv6.OptionPreference)
	if o == nil {
		return 0
	}
	if b := o.ToBytes(); len(b) == 1 {
		return int(b[0])
	}
	return 0
}

// answers tells whether reply is an answer to m: RFC 8415, section 16.
func (d *dhcp6) answers(m, reply *dhcpv6.Message) bool {
	id := reply.Options.ClientID()
	if id == nil || !id.Equal(m.Options.ClientID()) || reply.Options.ServerID() == nil {
		return false
	}
	if m.MessageType != dhcpv6.MessageTypeSolicit {
		return reply.MessageType == dhcpv6.MessageTypeReply
	}
	rapid := reply.MessageType == dhcpv6.MessageTypeReply && reply.GetOneOption(dhcpv6.OptionRapidCommit) != nil
	if reply.MessageType != dhcpv6.MessageTypeAdvertise && !rapid {
		return false
	}
	_, err := parseLease6(reply)
	return err == nil
}
