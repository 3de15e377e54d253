package netup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// hold waits until the lease wants renewing and renews it. It returns nil
// when the lease ended.
func (d *dhcp4) hold(ctx context.Context, l Lease) *Lease {
	granted := time.Now()
	if !d.bound(ctx, l) {
		return nil
	}

	d.started = time.Now()
	renew := d.renewer(l)
	defer renew.close()
	for _, phase := range []struct {
		until time.Time
		send  func(*dhcpv4.DHCPv4) error
	}{
		// RFC 2131, section 4.4.5: RENEWING asks the server of the lease
		// alone, since any other may refuse what it does not know.
		{granted.Add(l.Rebind), renew.send},
		{granted.Add(l.Valid), func(m *dhcpv4.DHCPv4) error { return d.broadcastFrom(l.Address.Addr(), m) }},
	} {
		for time.Now().Before(phase.until) && ctx.Err() == nil {
			// Half of what is left, at least 1 s, at most a minute.
			wait := min(max(time.Until(phase.until)/2, time.Second), time.Minute)
			until := time.Now().Add(jitter(wait))
			renewed, err := d.extend(ctx, l, phase.send, until)
			if err == nil {
				return renewed
			}
			if errors.Is(err, errNak) {
				d.log.Warn("the DHCP server ended the lease; asking for another", "address", l.Address.String(), "error", err)
				d.last = netip.Addr{}
				return nil
			}
			pause(ctx, time.Until(until))
		}
	}

	return nil
}

// bound waits until the lease wants renewing. It is false if that does not
// come: another machine has the address, or ctx ended.
func (d *dhcp4) bound(ctx context.Context, l Lease) bool {
	renew := time.NewTimer(l.Renew)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case taken := <-d.declined:
			if taken == l.Address.Addr() && d.declines < maxDeclines {
				d.decline(ctx, l)
				return false
			}
		case <-renew.C:
			return true
		}
	}
}

// nakWait is how long the lease's own server may take to grant what another
// refuses.
const nakWait = time.Second

// extend asks once for the lease to be prolonged. Its error is errNak if that
// was refused. Another server's refusal counts only if the lease's own does
// not grant it.
func (d *dhcp4) extend(ctx context.Context, l Lease, send func(*dhcpv4.DHCPv4) error, until time.Time) (*Lease, error) {
	d.xid = newXID()
	m := d.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(l.Address.Addr().AsSlice()))
	var refused error
	reply, err := d.exchange(ctx, m, send, until)
	for err == nil {
		server, _ := netip.AddrFromSlice(reply.ServerIdentifier().To4())
		switch {
		case reply.MessageType() == dhcpv4.MessageTypeAck:
			renewed, err := parseLease(reply)
			return &renewed, err
		case reply.MessageType() == dhcpv4.MessageTypeNak && server == l.Server:
			return nil, fmt.Errorf("%w of %s, %s", errNak, l.Address, server)
		case reply.MessageType() == dhcpv4.MessageTypeNak && refused == nil:
			refused = fmt.Errorf("%w of %s, %s", errNak, l.Address, server)
			if soon := time.Now().Add(nakWait); soon.Before(until) {
				until = soon
			}
		}
		reply, err = d.listen(ctx, m, until)
	}
	if refused != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, refused
	}
	return nil, err
}

// A renewer sends to the server of a lease alone, through the kernel, which
// knows the way: the server may be behind a relay. What it answers arrives at
// the client's packet socket.
type renewer struct {
	open func() (net.PacketConn, error)
	conn net.PacketConn
	to   *net.UDPAddr
}

func (d *dhcp4) renewer(l Lease) *renewer {
	return &renewer{open: d.direct, to: &net.UDPAddr{IP: l.Server.AsSlice(), Port: serverPort}}
}

func (r *renewer) send(m *dhcpv4.DHCPv4) (err error) {
	if r.conn == nil {
		if r.conn, err = r.open(); err != nil {
			return err
		}
	}
	_, err = r.conn.WriteTo(m.ToBytes(), r.to)
	return err
}

func (r *renewer) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

// declineTime is what a client waits after DECLINE, at least: RFC 2131,
// section 3.1.
const declineTime = 10 * time.Second

// maxDeclines bounds what a machine can do that says of every address that
// it has it: after that the next one is used all the same.
const maxDeclines = 3

// decline tells the server that another machine has the address.
func (d *dhcp4) decline(ctx context.Context, l Lease) {
	d.declines++
	d.xid, d.last = newXID(), netip.Addr{}
	m := d.message(dhcpv4.MessageTypeDecline, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.Server.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.Address.Addr().AsSlice())))
	if err := d.broadcast(m); err != nil {
		d.log.Debug("sending to DHCP", "error", err)
	}
	d.granted(nil)
	pause(ctx, declineTime)
}
