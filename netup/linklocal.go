package netup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
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

// linkLocalAfter is how long DHCP may stay unanswered before an IPv4
// link-local address is looked for; that takes 4 to 7 s more, in which
// DHCP goes on.
const linkLocalAfter = 2 * time.Second

// A linkLocal4 takes an IPv4 link-local address: RFC 3927.
type linkLocal4 struct {
	conn net.PacketConn // ARP
	mac  net.HardwareAddr
	log  *slog.Logger
	// claimed is called with the address, and with an invalid one when it
	// had to be given up.
	claimed func(netip.Prefix)
}

// run takes and defends an address until ctx ends.
func (c *linkLocal4) run(ctx context.Context, conn net.PacketConn) {
	c.conn = conn
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
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

func (c *linkLocal4) ask(sender, target netip.Addr) {
	p := arpPacket{op: arpRequest, senderMAC: c.mac, senderAddr: sender, targetAddr: target}
	if _, err := c.conn.WriteTo(p.pack(), broadcastHW); err != nil {
		c.log.Debug("sending ARP", "error", err)
	}
}

// quiet listens for d and tells whether nobody else uses or wants addr.
func (c *linkLocal4) quiet(ctx context.Context, addr netip.Addr, d time.Duration) bool {
	if c.conn.SetReadDeadline(time.Now().Add(d)) != nil {
		return false
	}
	packet := make([]byte, 128)
	for ctx.Err() == nil {
		n, _, err := c.conn.ReadFrom(packet)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err() == nil
		}
		if err != nil {
			pause(ctx, d) // the link is going down
			return false
		}
		a, err := parseARP(packet[:n])
		if err != nil || bytes.Equal(a.senderMAC, c.mac) {
			continue
		}
		probe := a.senderAddr.IsUnspecified() && a.op == arpRequest && a.targetAddr == addr
		if a.senderAddr == addr || probe {
			return false
		}
	}
	return false
}
