package front

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// forwarded takes the word of proxies, and of nobody else, on where a
// request comes from. Many nodes share a proxy's connections, so what one
// address may do at once is counted here, by requests.
type forwarded struct {
	http.Handler
	proxies []netip.Prefix
	most    int

	mu   sync.Mutex
	open map[netip.Addr]int
}

func newForwarded(h http.Handler, proxies []netip.Prefix, most int) *forwarded {
	return &forwarded{Handler: h, proxies: proxies, most: most, open: map[netip.Addr]int{}}
}

// ServeHTTP implements http.Handler.
func (f *forwarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !Contains(f.proxies, from.Addr().Unmap()) {
		f.Handler.ServeHTTP(w, r)
		return
	}

	client, ok := f.client(r.Header.Values("X-Forwarded-For"))
	if !ok {
		f.Handler.ServeHTTP(w, r) // a health check of the proxy's own
		return
	}

	if !f.enter(client) {
		Busy(w)
		return
	}
	defer f.leave(client)
	r.RemoteAddr = net.JoinHostPort(client.String(), "0")
	f.Handler.ServeHTTP(w, r)
}

// client is the last address that no proxy of ours has: what stands before
// it, anybody may have written.
func (f *forwarded) client(headers []string) (netip.Addr, bool) {
	hops := strings.Split(strings.Join(headers, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return netip.Addr{}, false
		}
		if a = a.Unmap().WithZone(""); !Contains(f.proxies, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (f *forwarded) enter(a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[a] >= f.most {
		return false
	}
	f.open[a]++
	return true
}

func (f *forwarded) leave(a netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[a]--; f.open[a] == 0 {
		delete(f.open, a)
	}
}
