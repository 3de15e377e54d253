package netup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
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

// A Lease6 is what a DHCPv6 server granted.
type Lease6 struct {
	Address netip.Addr // invalid when only settings were asked for
	DNS     []netip.Addr
	Domains []string
	Renew   time.Duration // T1
	Valid   time.Duration
}

// A dhcp6 is a DHCPv6 client (RFC 8415) on one link.
type dhcp6 struct {
	conn     net.PacketConn
	mac      net.HardwareAddr
	stateful bool // an address too, not only settings
	log      *slog.Logger
	granted  func(Lease6) // a zero one when the lease ended

	started time.Time
}

var errRefused6 = errors.New("DHCPv6 server refused the request")

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
				d.log.Warn("asking for an IPv6 address", "error", err)
				pause(ctx, jitter(min(firstRetry<<min(failures, 7), lastRetry)))
			}
			continue
		}

		failures = 0
		for lease != nil && ctx.Err() == nil {
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
		lease := d.settings(reply)
		lease.Renew, lease.Valid = 12*time.Hour, 24*time.Hour // section 7.6: IRT_DEFAULT
		return &lease, nil
	}

	reply, err := d.exchange(ctx, dhcpv6.MessageTypeSolicit, 0, d.identity(nil), dhcpv6.WithRapidCommit)
	if err != nil {
		return nil, err
	}

	if reply.MessageType == dhcpv6.MessageTypeAdvertise {
		offer, err := d.lease(reply)
		if err != nil {
			return nil, err
		}
		reply, err = d.exchange(ctx, dhcpv6.MessageTypeRequest, requestTries, d.identity(&offer),
			dhcpv6.WithOption(dhcpv6.OptServerID(reply.Options.ServerID())))
		if err != nil {
			return nil, err
		}
	}

	lease, err := d.lease(reply)
	return &lease, err
}

// hold waits until the lease wants renewing and renews it, by asking all
// servers at once (Rebind, section 18.2.5). It returns nil when it ended.
func (d *dhcp6) hold(ctx context.Context, l Lease6) *Lease6 {
	granted := time.Now()
	if !pause(ctx, l.Renew) {
		return nil
	}

	d.started = time.Now()
	for time.Since(granted) < l.Valid && ctx.Err() == nil {
		if !l.Address.IsValid() {
			return nil // asked for again from the start
		}
		reply, err := d.exchange(ctx, dhcpv6.MessageTypeRebind, 1, d.identity(&l))
		if err == nil {
			if renewed, err := d.lease(reply); err == nil {
				return &renewed
			}
			return nil // NoBinding: a new start
		}
		pause(ctx, jitter(min(max((l.Valid-time.Since(granted))/4, time.Second), time.Minute)))
	}

	return nil
}

// identity is the IA_NA: one for each link, told apart by its address.
func (d *dhcp6) identity(l *Lease6) dhcpv6.Modifier {
	ia := &dhcpv6.OptIANA{}
	copy(ia.IaId[:], d.mac[max(0, len(d.mac)-4):])
	if l != nil {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: l.Address.AsSlice()})
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
	if len(d.mac) == 20 {
		hardware = iana.HWTypeInfiniband
	}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: hardware, LinkLayerAddr: d.mac}))
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

// listen returns the first answer to m that is of use.
func (d *dhcp6) listen(ctx context.Context, m *dhcpv6.Message, until time.Time) (*dhcpv6.Message, error) {
	if err := d.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	packet := make([]byte, maxPacket6)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, _, err := d.conn.ReadFrom(packet)
		if err != nil {
			return nil, fmt.Errorf("waiting for DHCPv6: %w", err)
		}
		reply, err := dhcpv6.MessageFromBytes(packet[:n])
		if err == nil && reply.TransactionID == m.TransactionID && d.answers(m, reply) {
			return reply, nil
		}
	}
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
	_, err := d.lease(reply)
	return err == nil
}

// lease judges an answer with an address.
func (d *dhcp6) lease(m *dhcpv6.Message) (Lease6, error) {
	l := d.settings(m)
	if s := m.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
		return l, fmt.Errorf("%w: %s", errRefused6, s.StatusCode)
	}

	ia := m.Options.OneIANA()
	if ia == nil {
		return l, fmt.Errorf("%w: no address in the answer", errRefused6)
	}

	for _, a := range ia.Options.Addresses() {
		addr, ok := netip.AddrFromSlice(a.IPv6Addr)
		if ok && addr.Is6() && isUnicast(addr) && !addr.IsLinkLocalUnicast() && a.ValidLifetime > 0 {
			l.Address, l.Valid = addr, max(a.ValidLifetime, minLease)
			l.Renew = ia.T1
			if l.Renew <= 0 || l.Renew >= l.Valid {
				l.Renew = l.Valid / 2
			}
			return l, nil
		}
	}

	return l, fmt.Errorf("%w: no usable address in the answer", errRefused6)
}

// settings reads what comes beside an address.
func (d *dhcp6) settings(m *dhcpv6.Message) Lease6 {
	l := Lease6{DNS: addrs6(m.Options.DNS())}
	if s := m.Options.DomainSearchList(); s != nil {
		for _, name := range s.Labels {
			if clean(name) != "" && len(l.Domains) < maxDomains && !slices.Contains(l.Domains, name) {
				l.Domains = append(l.Domains, name)
			}
		}
	}
	return l
}

func addrs6(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok && isUnicast(a) && len(out) < maxServers && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
