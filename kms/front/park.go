package front

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// mostParked is how many connections may be parked at once on a listener.
const mostParked = 10_000

// A parking counts connections on which nothing is said for a while: they
// take no place of those that ask, and have limits of their own.
type parking struct {
	most     int
	all      int
	address  map[netip.Addr]int
	networks map[netip.Prefix]int
}

// newParking leaves half of the process' descriptors to others.
func newParking() parking {
	most := mostParked
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		most = int(min(uint64(most), files.Cur/2))
	}
	return parking{most: most, address: map[netip.Addr]int{}, networks: map[netip.Prefix]int{}}
}

// Park gives back the place that a request's connection has among those that
// ask, and counts it among those that are parked until it is closed. False
// means that there is no place.
func Park(ctx context.Context) bool {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	c, ok := conn.(*limited)
	if !ok {
		return true // of a Unix socket, or a test
	}
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.parked
	full := p.all >= p.most || c.addr.IsValid() && p.address[c.addr] >= l.most.PerAddress || c.network.IsValid() && p.networks[c.network] >= l.most.PerNetwork
	if _, open := l.open[c]; full || !open {
		return false
	}
	l.drop(c)
	c.parked = true
	p.all++
	p.address[c.addr]++
	if c.network.IsValid() {
		p.networks[c.network]++
	}
	return true
}

// leave stops counting a connection.
func (p *parking) leave(c *limited) {
	if !c.parked {
		return
	}
	c.parked = false
	p.all--
	if p.address[c.addr]--; p.address[c.addr] == 0 {
		delete(p.address, c.addr)
	}
	if !c.network.IsValid() {
		return
	}
	if p.networks[c.network]--; p.networks[c.network] == 0 {
		delete(p.networks, c.network)
	}
}
