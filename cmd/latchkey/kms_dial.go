package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"latchkey/discover"
)

// dialKMS connects to a KMS. Names under .local are looked for by mDNS on
// every link, as the init does: a static program's resolver does not know
// them. Whoever answers first is only a candidate: the pin decides.
func dialKMS(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	host, _, err := net.SplitHostPort(address)
	if err != nil || !strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".local") {
		return d.DialContext(ctx, network, address)
	}

	f, err := discover.NewFinder(discover.Query{URLs: []string{"http://" + address}}, discover.System{Shared: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}

	search, stop := context.WithCancel(ctx)
	defer stop()
	go f.Run(search)
	servers := discover.HostServers()
	go discover.WatchInterfaces(search, nil, func(links []discover.Interface) { f.Update(append(links, servers)) }) // without links nothing is found
	failed := fmt.Errorf("no machine on these links and no DNS server answers for %s", host)
	for {
		c, err := f.Next(search)
		if err != nil {
			return nil, failed
		}
		conn, err := d.DialContext(search, network, c.Addr.String())
		if err == nil {
			return conn, nil
		}
		failed = err
		f.SetAside(c, discover.AsideTime)
	}
}
