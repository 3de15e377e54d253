package netup

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// Times of RFC 3927, section 9.
const (
	probeWait     = time.Second
	probeNumber   = 3
	probeMin      = time.Second
	probeMax      = 2 * time.Second
	announceWait  = 2 * time.Second
	announceCount = 2
	maxConflicts  = 10
	conflictPause = time.Minute
)

// A linkLocal4 takes an IPv4 link-local address: RFC 3927.
type linkLocal4 struct {
	arpClient
	// claimed is called with the address, and with an invalid one when it
	// had to be given up.
	claimed func(netip.Prefix)
}

// run takes and defends an address until ctx ends.
func (c *linkLocal4) run(ctx context.Context, conn net.PacketConn) {
	defer c.use(ctx, conn)()

	// The seed makes a machine come back to its address: section 2.1.
	var seed [16]byte
	copy(seed[:], c.mac)
	chance := rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:8]), binary.BigEndian.Uint64(seed[8:])))
	for conflicts := 0; ctx.Err() == nil; conflicts++ {
		if conflicts >= maxConflicts && !pause(ctx, conflictPause) {
			return
		}

		// 169.254.1.0 to 169.254.254.255: section 2.1.
		v := 0x0100 + chance.IntN(0xfe00)
		addr := netip.AddrFrom4([4]byte{169, 254, byte(v >> 8), byte(v)})
		if !c.free(ctx, addr) {
			continue
		}

		c.claimed(netip.PrefixFrom(addr, 16))
		c.defend(ctx, addr)
		if ctx.Err() == nil {
			c.log.Warn("giving up a link-local address that another machine uses", "address", addr.String())
			c.claimed(netip.Prefix{})
		}
	}
}

// free probes: section 2.2.1.
func (c *linkLocal4) free(ctx context.Context, addr netip.Addr) bool {
	if !c.quiet(ctx, addr, rand.N(probeWait)) {
		return false
	}
	for i := range probeNumber {
		c.ask(netip.IPv4Unspecified(), addr)
		wait := probeMin + rand.N(probeMax-probeMin)
		if i == probeNumber-1 {
			wait = announceWait
		}
		if !c.quiet(ctx, addr, wait) {
			return false
		}
	}
	return true
}

// defend announces the address and listens until another machine takes
// it: section 2.5. It is given up at once, not fought for: all that it
// serves is a few packets to a key server.
func (c *linkLocal4) defend(ctx context.Context, addr netip.Addr) {
	for range announceCount {
		c.ask(addr, addr)
		if !c.quiet(ctx, addr, announceWait) {
			return
		}
	}
	for c.quiet(ctx, addr, time.Hour) {
	}
}
