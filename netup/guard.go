package netup

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"
)

// An arpClient says and hears ARP on one link.
type arpClient struct {
	conn net.PacketConn
	mac  net.HardwareAddr
	log  *slog.Logger
}

// Times of looking for another machine with our address. RFC 5227 waits
// for up to 7 s before it uses an address; a boot uses it meanwhile, as
// with IPv6 (RFC 4429), and asks faster.
const (
	guardProbes = 3
	guardWait   = 300 * time.Millisecond
	guardAgain  = 30 * time.Second
)

// A guard looks whether another machine has an address.
type guard struct {
	arpClient
	addr netip.Addr
	// taken is called when another machine has the address, and free when
	// none has it any more.
	taken, free func()
}

// run probes (RFC 5227, section 2.1.1), and if the address is taken goes
// on until it is free.
func (g *guard) run(ctx context.Context, conn net.PacketConn) {
	g.conn = conn
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if g.alone(ctx) || ctx.Err() != nil {
		return
	}
	g.taken()
	for pause(ctx, jitter(guardAgain)) {
		if g.alone(ctx) {
			g.free()
			return
		}
	}
}

func (g *guard) alone(ctx context.Context) bool {
	for range guardProbes {
		g.ask(netip.IPv4Unspecified(), g.addr)
		if !g.quiet(ctx, g.addr, guardWait) {
			return false
		}
	}
	return true
}

func (c *arpClient) ask(sender, target netip.Addr) {
	p := arpPacket{op: arpRequest, senderMAC: c.mac, senderAddr: sender, targetAddr: target}
	if _, err := c.conn.WriteTo(p.pack(), broadcastHW); err != nil {
		c.log.Debug("sending ARP", "error", err)
	}
}

// quiet listens for d and tells whether nobody else uses or wants addr.
func (c *arpClient) quiet(ctx context.Context, addr netip.Addr, d time.Duration) bool {
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
