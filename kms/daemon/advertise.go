package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"latchkey/discover"
	"latchkey/internal/cli"
	"latchkey/kms"
	"latchkey/kms/config"
)

// serviceKairos is the DNS-SD type that the clients of Kairos browse for.
const serviceKairos = "_kcrypt._tcp"

// services are what a protocol is found by.
var services = []struct {
	protocol config.Protocol
	service  string
}{{config.LK1, kms.Service}, {config.Kairos, serviceKairos}}

// advertise answers multicast DNS for the KMS until ctx ends; the function
// that it returns waits for the goodbyes.
func advertise(ctx context.Context, names []string, all []listener, log *slog.Logger) (wait func(), err error) {
	if len(names) == 0 {
		return func() {}, nil
	}

	r, err := discover.NewResponder(announcements(names, all, log), discover.System{}, log)
	if err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: err}
	}

	ctx, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	both.Go(func() { r.Run(ctx) })
	both.Go(func() {
		if err := discover.WatchInterfaces(ctx, nil, r.Update); err != nil && ctx.Err() == nil {
			log.Error("announcing by multicast DNS", "err", err)
		}
	})
	return func() { cancel(); both.Wait() }, nil
}

// announcements are for each name the services of the protocols that are
// answered, each with the port of the first listener that speaks it. Each
// link is told its own addresses, or the one that the listener has. A name
// has one set of addresses, so what listens at others than the first
// protocol cannot be found under it.
func announcements(names []string, all []listener, log *slog.Logger) (out []discover.Announcement) {
	for _, name := range names {
		first := -1
		for _, s := range services {
			at := slices.IndexFunc(all, func(l listener) bool { return slices.Contains(l.speaks, s.protocol) })
			if at < 0 {
				continue
			}
			a := discover.Announcement{Host: name, OwnName: isOwnName(name), Text: []string{"v=1"}, Services: []string{s.service}}
			a.Port, a.Addrs = reachable(all[at].addr)

			switch {
			case first < 0:
				first = len(out)
			case !slices.Equal(out[first].Addrs, a.Addrs):
				log.Warn("not announced by multicast DNS: the listener has another address than that of the other protocol", "name", name, "service", s.service, "listener", all[at].addr)
				continue
			case out[first].Port == a.Port:
				out[first].Services = append(out[first].Services, s.service)
				continue
			}
			out = append(out, a)
		}
	}
	return out
}

// isOwnName tells whether this machine itself is called so.
func isOwnName(name string) bool {
	host, err := os.Hostname()
	first, _, _ := strings.Cut(host, ".")
	return err == nil && strings.EqualFold(strings.TrimSuffix(name, "."), first+".local")
}

// reachable is the port of a listener, and its address if it has only one.
func reachable(at net.Addr) (uint16, []netip.Addr) {
	a, err := netip.ParseAddrPort(at.String())
	if err != nil {
		return 0, nil
	}
	if a.Addr().IsUnspecified() {
		return a.Port(), nil
	}
	return a.Port(), []netip.Addr{a.Addr().Unmap()}
}
