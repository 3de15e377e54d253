package netup_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"latchkey/internal/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var testServer = netip.MustParseAddr("192.0.2.1")

// A server is a DHCP server whose answers a test decides.
type server struct {
	conn  *testlan.Conn
	addr  netip.Addr
	offer netip.Addr
	delay time.Duration
	// reply changes an answer, or returns nil to keep silent.
	reply func(request, answer *dhcpv4.DHCPv4) *dhcpv4.DHCPv4
	raw   func([]byte) []byte // changes the bytes of an answer; nil does not
	heard atomic.Int64        // requests
	mac   atomic.Value        // of the last request, text
}

// serve starts a DHCP server, 192.0.2.<n>, on the cable of a link.
func serve(k *fakeKernel, index int, n byte, change func(*server)) *server {
	k.mu.Lock()
	lan := k.lans[index]
	k.mu.Unlock()
	s := &server{
		conn: lan.Join(netup.HWAddr(net.HardwareAddr{2, 0, 0, 0, 9, n})),
		addr: netip.AddrFrom4([4]byte{192, 0, 2, n}), offer: netip.AddrFrom4([4]byte{192, 0, 2, 100 + n}),
	}
	if change != nil {
		change(s)
	}
	go s.run()
	return s
}

func (s *server) run() {
	buf := make([]byte, 2000)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}

		request, err := dhcpv4.FromBytes(buf[28:n])
		if err != nil || request.OpCode != dhcpv4.OpcodeBootRequest {
			continue
		}

		s.heard.Add(1)
		s.mac.Store(request.ClientHWAddr.String())
		if asked := request.ServerIdentifier(); asked != nil && !asked.Equal(s.addr.AsSlice()) {
			continue
		}

		if answer := s.answer(request); answer != nil {
			p := answer.ToBytes()
			if s.raw != nil {
				p = s.raw(p)
			}
			time.AfterFunc(s.delay, func() { s.conn.WriteTo(udp(s.addr, p), from) })
		}
	}
}

func (s *server) answer(request *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	kind := dhcpv4.MessageTypeOffer
	if request.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	answer, err := dhcpv4.NewReplyFromRequest(request, dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(s.offer.AsSlice()), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(s.addr.AsSlice()),
		dhcpv4.WithDNS(s.addr.AsSlice()), dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.addr.AsSlice())))
	if err != nil {
		return nil
	}

	if s.reply != nil {
		return s.reply(request, answer)
	}
	return answer
}

// udp wraps an answer as a server's kernel does, without checksum.
func udp(src netip.Addr, payload []byte) []byte {
	p := make([]byte, 28, 28+len(payload))
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(payload)))
	copy(p[12:], src.AsSlice())
	copy(p[16:], net.IPv4bcast.To4())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[20:], 67)
	binary.BigEndian.PutUint16(p[22:], 68)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	return append(p, payload...)
}

// Each row is a LAN with its servers; the link must have the address at
// that time.
func TestDHCPServers(t *testing.T) {
	type dhcp = dhcpv4.DHCPv4
	without := func(code dhcpv4.OptionCode) func(*server) {
		return func(s *server) {
			s.reply = func(_, a *dhcp) *dhcp { a.Options.Del(code); return a }
		}
	}

	nakFirst := func(s *server) {
		naks := 0
		s.reply = func(r, a *dhcp) *dhcp {
			if r.MessageType() == dhcpv4.MessageTypeRequest && naks < 2 {
				naks++
				a.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			}
			return a
		}
	}
	for _, row := range []struct {
		name    string
		servers []func(*server)
		after   time.Duration
		want    string
	}{
		{"one round trip each way twice", []func(*server){nil}, 5 * time.Millisecond, "192.0.2.101/24"},
		{"rapid commit", []func(*server){func(s *server) {
			s.reply = func(r, a *dhcp) *dhcp {
				if r.Options.Has(dhcpv4.OptionRapidCommit) {
					a.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
					a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))
				}
				return a
			}
		}}, 3 * time.Millisecond, "192.0.2.101/24"},
		{"no router", []func(*server){without(dhcpv4.OptionRouter)}, time.Second, "192.0.2.101/24"},
		{"no mask", []func(*server){without(dhcpv4.OptionSubnetMask)}, time.Second, "192.0.2.101/24"},
		{"no lease time", []func(*server){without(dhcpv4.OptionIPAddressLeaseTime)}, time.Second, "192.0.2.101/24"},
		{"slow, 45 s each time", []func(*server){func(s *server) { s.delay = 45 * time.Second }}, 3 * time.Minute, "192.0.2.101/24"},
		{"two NAKs", []func(*server){nakFirst}, 3 * time.Second, "192.0.2.101/24"},
		{"two servers, the first answers", []func(*server){func(s *server) { s.delay = time.Second }, nil}, 5 * time.Millisecond, "192.0.2.102/24"},
		{"one offers and falls silent", []func(*server){func(s *server) {
			s.reply = func(r, a *dhcp) *dhcp {
				if r.MessageType() != dhcpv4.MessageTypeDiscover {
					return nil
				}
				return a
			}
		}, func(s *server) { s.delay = 100 * time.Millisecond }}, 2 * time.Minute, "192.0.2.102/24"},
		{"no server identifier", []func(*server){without(dhcpv4.OptionServerIdentifier)}, time.Minute, "169.254."},
		{"address 0.0.0.0", []func(*server){func(s *server) { s.offer = netip.IPv4Unspecified() }}, time.Minute, "169.254."},
		{"multicast address", []func(*server){func(s *server) { s.offer = netip.MustParseAddr("224.0.0.1") }}, time.Minute, "169.254."},
		{"for another client", []func(*server){func(s *server) {
			s.reply = func(_, a *dhcp) *dhcp { a.ClientHWAddr = net.HardwareAddr{1, 2, 3, 4, 5, 6}; return a }
		}}, time.Minute, "169.254."},
		{"another transaction", []func(*server){func(s *server) {
			s.reply = func(_, a *dhcp) *dhcp { a.TransactionID[0] ^= 1; return a }
		}}, time.Minute, "169.254."},
		{"acknowledged without being asked", []func(*server){func(s *server) {
			s.reply = func(_, a *dhcp) *dhcp { a.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck)); return a }
		}}, time.Minute, "169.254."},
	} {
		t.Run(row.name, func(t *testing.T) {
			fake(t, func() *fakeKernel {
				k := one()
				for i, change := range row.servers {
					serve(k, 1, byte(i+1), change)
				}
				return k
			}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				time.Sleep(row.after)
				synctest.Wait()
				got := s.addrs("eth0")
				local := strings.HasPrefix(row.want, "169.254.")
				if local != strings.Contains(got, "169.254.") || !local && got != row.want {
					t.Errorf("after %s: addresses %q, want %q", row.after, got, row.want)
				}
			})
		})
	}
}

// A port that forwards only after 45 s costs no more than the next retry,
// which comes within 5 s.
func TestPortForwardsLate(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		start := time.Now()
		k.lans[1].Lose = func([]byte, net.Addr, net.Addr) bool { return time.Since(start) < 45*time.Second }
		serve(k, 1, 1, nil)
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(50 * time.Second)
		if got := s.addrs("eth0"); !strings.HasSuffix(got, "192.0.2.101/24") {
			t.Errorf("50 s after carrier: addresses %q, want 192.0.2.101/24", got)
		}
	})
}

func TestLossyDHCP(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		chance := rand.New(rand.NewPCG(1, 2))
		k.lans[1].Lose = func([]byte, net.Addr, net.Addr) bool { return chance.IntN(2) == 0 }
		serve(k, 1, 1, nil)
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(20 * time.Second)
		if got := s.addrs("eth0"); !strings.Contains(got, "192.0.2.101/24") {
			t.Errorf("with half of the packets lost: addresses %q, want 192.0.2.101/24", got)
		}
	})
}

func TestRenewal(t *testing.T) {
	var dhcp *server
	fake(t, func() *fakeKernel {
		k := one()
		dhcp = serve(k, 1, 1, nil)
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(24 * time.Hour)
		if got := s.addrs("eth0"); got != "192.0.2.101/24" {
			t.Errorf("after a day: addresses %q, want 192.0.2.101/24", got)
		}
		if n := dhcp.heard.Load(); n < 45 || n > 60 {
			t.Errorf("%d messages to the server in a day, want about one each half hour", n)
		}

		// The server goes away: the lease ends, the address with it, and a
		// link-local one is there until it is back.
		dhcp.conn.Close()
		time.Sleep(3 * time.Hour)
		if got := s.addrs("eth0"); strings.Contains(got, "192.0.2.101") {
			t.Errorf("three hours without server: addresses %q, want the lease gone", got)
		}
		serve(k, 1, 2, nil)
		time.Sleep(time.Minute)
		if got := s.addrs("eth0"); !strings.Contains(got, "192.0.2.102/24") {
			t.Errorf("with another server: addresses %q, want 192.0.2.102/24", got)
		}
	})
}

func TestRenewalRefused(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, func(s *server) {
			s.reply = func(r, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				if !r.ClientIPAddr.IsUnspecified() {
					s.offer = netip.MustParseAddr("192.0.2.200")
					a.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
				}
				return a
			}
		})
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(31 * time.Minute)
		if got := s.addrs("eth0"); got != "192.0.2.200/24" {
			t.Errorf("after a refused renewal: addresses %q, want 192.0.2.200/24 only", got)
		}
	})
}
