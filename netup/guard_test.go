package netup_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"latchkey/internal/plan"
	"latchkey/netup"
)

// squat is a machine on a link's cable that says of addresses that they
// are its own, until it is closed.
func squat(k *fakeKernel, index int, has func(netip.Addr) bool) net.PacketConn {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 99}
	k.mu.Lock()
	conn := k.side(index, netup.ARP).Join(netup.HWAddr(mac))
	k.mu.Unlock()

	go respond(conn, mac, has)
	return conn
}

func TestLeasedAddressTaken(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, func(s *server) {
			s.reply = func(r, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				if r.MessageType() == dhcpv4.MessageTypeDecline {
					s.offer = netip.MustParseAddr("192.0.2.111")
					return nil
				}
				return a
			}
		})
		squat(k, 1, func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.101") })
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(30 * time.Second)
		if got := s.addrs("eth0"); !strings.Contains(got, "192.0.2.111/24") || strings.Contains(got, "192.0.2.101") {
			t.Errorf("eth0 has %q, want 192.0.2.111 after declining 192.0.2.101", got)
		}
	})
}

// A machine that claims every address cannot keep us without one.
func TestEveryAddressTaken(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, nil)
		squat(k, 1, func(netip.Addr) bool { return true })
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(2 * time.Minute)
		if got := s.addrs("eth0"); got != "192.0.2.101/24" {
			t.Errorf("eth0 has %q, want the lease, and no link-local address that is taken", got)
		}
	})
}

func TestStaticAddressTaken(t *testing.T) {
	settings, _ := parse(t, "ip=192.0.2.5/24::192.0.2.1:::eth0:none")
	var other net.PacketConn
	fake(t, func() *fakeKernel {
		k := one()
		other = squat(k, 1, func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.5") })
		return k
	}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		synctest.Wait()
		if got := s.addrs("eth0"); got != "192.0.2.5/24" {
			t.Errorf("at once eth0 has %q, want 192.0.2.5/24 without waiting for the check", got)
		}
		settle()
		if got := s.addrs("eth0"); got != "" {
			t.Errorf("another machine has the address, but eth0 has %q", got)
		}
		other.Close()
		time.Sleep(time.Minute)
		if got := s.addrs("eth0"); got != "192.0.2.5/24" {
			t.Errorf("the other machine is gone, but eth0 has %q", got)
		}
	})
}

// A router that answers ARP for every address says nothing of ours: no lease
// is declined, and a static address stays.
func TestProxyARP(t *testing.T) {
	every := func(netip.Addr) bool { return true }
	for _, row := range []struct {
		name, cmdline string
		has           func(netip.Addr) bool
		want          string
	}{
		{"DHCP, every address", "", every, "192.0.2.101/24"},
		{"static, every address", "ip=192.0.2.5/24:::::eth0:none", every, "192.0.2.5/24"},
		{"a small network, where nothing can be told", "ip=192.0.2.5/29:::::eth0:none", every, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			fake(t, func() *fakeKernel {
				k := one()
				serve(k, 1, 1, nil)
				squat(k, 1, row.has)
				return k
			}, parsed(t, row.cmdline), func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				time.Sleep(5 * time.Second)
				if got := s.addrs("eth0"); got != row.want || row.want != "" && len(k.told("DelAddr")) > 0 {
					t.Errorf("addresses %q after %q, want %q kept", got, k.told("DelAddr"), row.want)
				}
			})
		})
	}
}
