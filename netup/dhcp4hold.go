package netup

import (
	"context"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// hold waits until the lease wants renewing and renews it. It returns nil
// when the lease ended. The renewal is broadcast like a rebinding (RFC
// 2131, section 4.4.5): one path for both, and it also reaches a server
// that took over.
func (d *dhcp4) hold(ctx context.Context, l Lease) *Lease {
	granted := time.Now()
	renew := time.NewTimer(l.Renew)
	defer renew.Stop()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return nil
		case taken := <-d.declined:
			if taken == l.Address.Addr() && d.declines < maxDeclines {
				d.decline(ctx, l)
				return nil
			}
		case <-renew.C:
			waiting = false
		}
	}

	d.started = time.Now()
	for time.Since(granted) < l.Valid && ctx.Err() == nil {
		d.xid = newXID()
		m := d.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(l.Address.Addr().AsSlice()))
		// Half of what is left, at least 1 s, at most a minute.
		wait := min(max((l.Valid-time.Since(granted))/2, time.Second), time.Minute)
		until := time.Now().Add(jitter(wait))
		reply, err := d.exchange(ctx, m, l.Address.Addr(), until)
		if err == nil && reply.MessageType() == dhcpv4.MessageTypeNak {
			d.log.Warn("renewing the lease", "error", errNak)
			d.last = netip.Addr{}
			return nil
		}
		if err == nil {
			if renewed, err := parseLease(reply); err == nil && reply.MessageType() == dhcpv4.MessageTypeAck {
				return &renewed
			}
		}

		pause(ctx, time.Until(until))
	}

	return nil
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
	if _, err := d.conn.WriteTo(wrapUDP(netip.IPv4Unspecified(), limitedBroadcast, m.ToBytes()), broadcastHW); err != nil {
		d.log.Debug("sending to DHCP", "error", err)
	}
	d.granted(nil)
	pause(ctx, declineTime)
}
