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

// An arpClient says and hears ARP on one link.
type arpClient struct {
	conn  net.PacketConn
	mac   net.HardwareAddr
	own   *ownMACs
	other net.HardwareAddr // who spoke last
	log   *slog.Logger
}

// Times of looking for another machine with our address. RFC 5227 waits
// for up to 7 s before it uses an address; a boot uses it meanwhile, as
// with IPv6 (RFC 4429), and asks faster.
const (
	guardProbes = 3
	guardWait   = 300 * time.Millisecond
	guardAgain  = 30 * time.Second
)

// use makes the client speak on conn until ctx ends; the function that it
// returns must be called when it is done.
func (c *arpClient) use(ctx context.Context, conn net.PacketConn) func() {
	c.conn = conn
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

func (c *arpClient) ask(sender, target netip.Addr) {
	p := arpPacket{op: arpRequest, senderMAC: c.mac, senderAddr: sender, targetAddr: target}
	if _, err := c.conn.WriteTo(p.pack(), broadcastHW); err != nil {
		c.log.Debug("sending ARP", "error", err)
	}
}

// hear listens for d and tells whether another machine said something that
// matches.
func (c *arpClient) hear(ctx context.Context, d time.Duration, matches func(arpPacket) bool) (bool, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false, err
	}
	packet := make([]byte, 128)
	for ctx.Err() == nil {
		n, _, err := c.conn.ReadFrom(packet)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return false, err
		}
		if a, err := parseARP(packet[:n]); err == nil && !c.own.has(a.senderMAC) && matches(a) {
			return true, nil
		}
	}
	return false, ctx.Err()
}

// quiet listens for d and tells whether nobody else uses or wants addr: RFC
// 5227, section 2.1.1.
func (c *arpClient) quiet(ctx context.Context, addr netip.Addr, d time.Duration) bool {
	heard, err := c.hear(ctx, d, func(a arpPacket) bool {
		probe := a.senderAddr.IsUnspecified() && a.op == arpRequest && a.targetAddr == addr
		c.other = a.senderMAC
		return a.senderAddr == addr || probe
	})
	if err != nil {
		pause(ctx, d) // the link is going down
	}
	return !heard && err == nil
}

// A guard looks whether another machine has an address.
type guard struct {
	arpClient
	addr netip.Prefix
	// taken is called when another machine has the address, and free when
	// none has it any more.
	taken func(by net.HardwareAddr)
	free  func()
}

// run probes (RFC 5227, section 2.1.1), and if the address is taken goes
// on until it is free.
func (g *guard) run(ctx context.Context, conn net.PacketConn) {
	defer g.use(ctx, conn)()
	if g.alone(ctx) || ctx.Err() != nil {
		return
	}
	g.taken(g.other)
	for pause(ctx, jitter(guardAgain)) {
		if g.alone(ctx) {
			g.free()
			return
		}
	}
}

func (g *guard) alone(ctx context.Context) bool {
	for range guardProbes {
		g.ask(netip.IPv4Unspecified(), g.addr.Addr())
		if !g.quiet(ctx, g.addr.Addr(), guardWait) {
			return g.proxied(ctx)
		}
	}
	return true
}

// proxied tells whether who said that it has the address says so of every
// address: a router or cloud that answers ARP for all machines of a LAN that
// keeps them apart (local proxy ARP). That says nothing of ours.
func (g *guard) proxied(ctx context.Context) bool {
	if g.addr.Bits() > 28 || ctx.Err() != nil {
		return false
	}
	by := bytes.Clone(g.other)
	for range 2 {
		another := g.another()
		g.ask(netip.IPv4Unspecified(), another)
		heard, err := g.hear(ctx, guardWait, func(a arpPacket) bool {
			return a.senderAddr == another && bytes.Equal(a.senderMAC, by)
		})
		if !heard || err != nil {
			return false
		}
	}
	g.log.Info("a machine on the LAN answers ARP for every address; duplicates cannot be seen", "by", net.HardwareAddr(by).String())
	return true
}

// another is an address of the LAN that is not ours, by chance.
func (g *guard) another() netip.Addr {
	own := g.addr.Addr().As4()
	host := binary.BigEndian.Uint32(own[:])
	size := uint32(1) << (32 - g.addr.Bits())
	other := host&^(size-1) | (host+1+rand.Uint32N(size-1))&(size-1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, other)))
}
