package netup

import (
	"context"
	"errors"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// hold waits until the lease wants renewing and renews it: the server of the
// lease is asked (RFC 8415, section 18.2.4), from T2 on all are (18.2.5). It
// returns nil when the lease ended.
func (d *dhcp6) hold(ctx context.Context, l Lease6) *Lease6 {
	granted := time.Now()
	if !pause(ctx, l.Renew) {
		return nil
	}

	d.started = time.Now()
	if !l.Address.IsValid() { // settings only: they count until there are new ones
		again, err := d.acquire(ctx)
		if err != nil {
			return nil
		}
		return again
	}

	for _, phase := range []struct {
		until  time.Time
		asking dhcpv6.MessageType
		more   []dhcpv6.Modifier
	}{
		{granted.Add(l.Rebind), dhcpv6.MessageTypeRenew, []dhcpv6.Modifier{dhcpv6.WithOption(dhcpv6.OptServerID(l.Server))}},
		{granted.Add(l.Valid), dhcpv6.MessageTypeRebind, nil},
	} {
		for time.Now().Before(phase.until) && ctx.Err() == nil {
			reply, err := d.exchange(ctx, phase.asking, 1, append(phase.more, d.identity(l.Address))...)
			if err == nil {
				renewed, err := parseLease6(reply)
				if err == nil {
					return &renewed
				}
				// Section 18.2.10.1: that another server does not know the
				// lease says nothing.
				if errors.Is(err, errNoBinding) && l.Server.Equal(renewed.Server) {
					d.log.Warn("the DHCPv6 server ended the lease; asking for another", "address", l.Address.String(), "error", err)
					return nil
				}
			}
			pause(ctx, jitter(min(max(time.Until(phase.until)/4, time.Second), time.Minute)))
		}
	}

	return nil
}
