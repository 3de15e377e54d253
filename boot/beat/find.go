package beat

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"latchkey/discover"
)

// LAN finds key servers as a boot does: by mDNS, by DNS, by address. It asks
// only while one is wanted: thousands of machines must not ask all the time.
type LAN struct {
	Query discover.Query

	mu    sync.Mutex
	aside map[string]time.Time // until when, by address
}

// Next implements Servers.
func (l *LAN) Next(ctx context.Context) (Server, error) {
	f, err := discover.NewFinder(l.Query, discover.System{Shared: true}, slog.New(slog.DiscardHandler))
	if f == nil {
		return Server{}, err
	}
	search, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	servers := discover.HostServers()
	all.Go(func() { f.Run(search) })
	all.Go(func() {
		discover.WatchInterfaces(search, nil, func(links []discover.Interface) { f.Update(append(links, servers)) }) // without links nothing is found
	})
	for {
		c, err := f.Next(search)
		if err != nil {
			return Server{}, err
		}
		if wait := l.wait(c.Addr.String()); wait > 0 {
			f.SetAside(c, wait)
			continue
		}
		return serverOf(c), nil
	}
}

func serverOf(c discover.Candidate) Server {
	at := c.Addr
	url := c.URL
	if url == "" { // found by its service: the address with a zone is no name
		url = "http://" + netip.AddrPortFrom(at.Addr().WithZone(""), at.Port()).String()
	}
	return Server{URL: url, at: at.String(), Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, at.String())
	}}
}

// wait is how long an address is left alone.
func (l *LAN) wait(at string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.aside[at])
}

// maxAside bounds how many addresses are remembered: a LAN with an attacker
// offers more.
const maxAside = 256

// SetAside implements Servers.
func (l *LAN) SetAside(s Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.aside == nil || len(l.aside) >= maxAside {
		l.aside = map[string]time.Time{}
	}
	l.aside[s.at] = time.Now().Add(discover.AsideTime)
}
