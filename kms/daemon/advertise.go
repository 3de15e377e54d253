package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"latchkey/discover"
	"latchkey/internal/cli"
	"latchkey/kms"
)

// advertise answers multicast DNS for the KMS until ctx ends; the function
// that it returns waits for the goodbyes. Each link is told its own
// addresses, or the one that the KMS listens on.
func advertise(ctx context.Context, names []string, at net.Addr, log *slog.Logger) (wait func(), err error) {
	if len(names) == 0 {
		return func() {}, nil
	}
	tcp, ok := at.(*net.TCPAddr)
	if !ok {
		return nil, cli.Usagef("--advertise needs a TCP address to advertise, not %s", at)
	}

	var addrs []netip.Addr
	if a, ok := netip.AddrFromSlice(tcp.IP); ok && !a.IsUnspecified() {
		addrs = []netip.Addr{a.Unmap()}
	}
	var all []discover.Announcement
	for _, name := range names {
		all = append(all, discover.Announcement{Host: name, Addrs: addrs, Port: uint16(tcp.Port), Services: []string{kms.Service}, Text: []string{"v=1"}})
	}

	r, err := discover.NewResponder(all, discover.System{}, log)
	if err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: err}
	}

	ctx, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	both.Go(func() { r.Run(ctx) })
	both.Go(func() {
		if err := discover.WatchInterfaces(ctx, nil, r.Update); err != nil {
			log.Error("advertising", "err", err)
		}
	})

	return func() { cancel(); both.Wait() }, nil
}
