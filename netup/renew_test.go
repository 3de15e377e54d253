package netup_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"latchkey/internal/plan"
)

// refusesOthers is the answer of an authoritative server that knows only its
// own leases.
func refusesOthers(s *server) {
	s.reply = func(r, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if r.MessageType() == dhcpv4.MessageTypeRequest && !r.ClientIPAddr.IsUnspecified() && !r.ClientIPAddr.Equal(s.offer.AsSlice()) {
			a.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
		}
		return a
	}
}

// faults/network.md M4: at T1 only the server of the lease is asked; at T2 all
// are, and then its grant counts more than another's refusal.
func TestRenewalAmongServers(t *testing.T) {
	var own, other *server
	fake(t, func() *fakeKernel {
		k := one()
		own = serve(k, 1, 1, refusesOthers)
		other = serve(k, 1, 2, func(s *server) { refusesOthers(s); s.delay = 10 * time.Millisecond })
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		before := other.heard.Load()
		time.Sleep(24 * time.Hour)
		if got := s.addrs("eth0"); got != "192.0.2.101/24" {
			t.Errorf("after a day: addresses %q, want the first lease", got)
		}
		if n := other.heard.Load() - before; n != 0 {
			t.Errorf("the other server heard %d messages, want none", n)
		}
		if n := own.heard.Load(); n < 45 {
			t.Errorf("the lease's server heard %d messages in a day, want about one each half hour", n)
		}
		if gone := k.told("DelAddr"); len(gone) > 0 {
			t.Errorf("operations %q, want the address never taken off", gone)
		}
	})
}

// The server of the lease does not hear what is sent to it alone: at T2, 7/8
// of the lease, all are asked. The other's refusal comes first.
func TestRebinding(t *testing.T) {
	var mu sync.Mutex
	var rebound time.Duration
	fake(t, func() *fakeKernel {
		k := one()
		start := time.Now()
		serve(k, 1, 1, func(s *server) {
			s.delay = 100 * time.Millisecond
			s.reply = leaseByMAC
		})
		serve(k, 1, 2, func(s *server) {
			s.offer = netip.MustParseAddr("192.0.2.222")
			s.reply = func(r, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				if r.MessageType() != dhcpv4.MessageTypeRequest || r.ClientIPAddr.IsUnspecified() {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				if rebound == 0 {
					rebound = time.Since(start)
				}
				a.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
				return a
			}
		})
		k.lans[1].Lose = func(p []byte, from, to net.Addr) bool { // what a renewConn sends
			return to.String() == "02:00:00:00:09:01" && bytes.Equal(p[12:16], testServer.AsSlice())
		}
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(58 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if rebound < 52*time.Minute || rebound > 55*time.Minute {
			t.Errorf("all servers were asked after %s, want 52m30s", rebound)
		}
		if got := s.addrs("eth0"); got != "192.0.2.101/24" || len(k.told("DelAddr")) > 0 {
			t.Errorf("addresses %q, want the lease kept: its own server granted it", got)
		}
	})
}

// faults/network.md Low, short leases: a lease of ten seconds is renewed in
// time, and its end is believed.
func TestShortLease(t *testing.T) {
	var dhcp *server
	fake(t, func() *fakeKernel {
		k := one()
		dhcp = serve(k, 1, 1, func(s *server) {
			s.reply = func(_, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				a.UpdateOption(dhcpv4.OptIPAddressLeaseTime(10 * time.Second))
				return a
			}
		})
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(time.Hour)
		if gone := k.told("DelAddr"); len(gone) > 0 || s.addrs("eth0") != "192.0.2.101/24" {
			t.Errorf("addresses %q, operations %q, want the lease renewed all the time", s.addrs("eth0"), gone)
		}
		dhcp.conn.Close()
		time.Sleep(11 * time.Second)
		if got := s.addrs("eth0"); strings.Contains(got, "192.0.2.101") {
			t.Errorf("11 s without a server, addresses %q, want the lease of 10 s gone", got)
		}
	})
}

// What the client says of itself: RFC 2131, 2132, 4361, 4390, 4702. Each row
// is a link and a host name.
func TestIdentity(t *testing.T) {
	ib, err := net.ParseMAC("80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:10:39")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, host, id, hostname, fqdn string
		mac                            net.HardwareAddr
	}{
		{name: "Ethernet", id: "01020000000001"},
		{name: "a name", host: "node", id: "01020000000001", hostname: "node"},
		{name: "a name with a domain", host: "node.example.org", id: "01020000000001", fqdn: "050000046e6f6465076578616d706c65036f726700"},
		// faults/network.md H3: chaddr has no room, so option 61 says it, with
		// what stays the same from boot to boot: the port's GUID.
		{name: "InfiniBand", mac: ib, id: "ff" + "00001039" + "0003" + "0020" + "0002c90300001039"},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings, _ := parse(t, "ip=::::"+row.host+":eth0:dhcp")
			var mu sync.Mutex
			var first *dhcpv4.DHCPv4
			fake(t, func() *fakeKernel {
				d := eth(1)
				if row.mac != nil {
					d.MAC, d.Kind, d.Place.Bus = row.mac, "ipoib", true
				}
				k := newKernel(d)
				serve(k, 1, 1, func(s *server) {
					s.reply = func(r, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
						mu.Lock()
						defer mu.Unlock()
						if first == nil {
							first = r
						}
						return a
					}
				})
				return k
			}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				settle()
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					t.Fatal("the server heard nothing")
				}
				if got := hex.EncodeToString(first.Options.Get(dhcpv4.OptionClientIdentifier)); got != row.id {
					t.Errorf("option 61 is %s, want %s", got, row.id)
				}
				if got := hex.EncodeToString(first.Options.Get(dhcpv4.OptionFQDN)); got != row.fqdn || first.HostName() != row.hostname {
					t.Errorf("options 12 and 81 are %q and %s, want %q and %s", first.HostName(), got, row.hostname, row.fqdn)
				}
				if row.mac != nil && (len(first.ClientHWAddr) != 0 || first.HWType != 32 || !first.IsBroadcast()) {
					t.Errorf("chaddr %v, type %d, broadcast %v; want none, 32, true", first.ClientHWAddr, first.HWType, first.IsBroadcast())
				}
				if got := s.addrs("eth0"); got != "192.0.2.101/24" {
					t.Errorf("addresses %q, want the lease", got)
				}
			})
		})
	}
}

// An answer for another client, as RFC 6842 lets a server say, is not ours;
// InfiniBand has nothing else to tell.
func TestAnswerForAnotherClientID(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, func(s *server) {
			s.reply = func(_, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				a.UpdateOption(dhcpv4.OptClientIdentifier([]byte{1, 2, 3}))
				return a
			}
		})
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		if got := s.addrs("eth0"); got != "" {
			t.Errorf("addresses %q, want none", got)
		}
	})
}

// faults/network.md Low: options that a server put where the boot file and
// its name stand (option 52) count.
func TestOverload(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, func(s *server) {
			s.raw = func(p []byte) []byte {
				copy(p[108:], []byte{6, 4, 192, 0, 2, 53, 255})   // file: a DNS server
				copy(p[44:], []byte{15, 3, 'o', 'r', 'g', 255})   // sname: a domain
				return slices.Insert(p, 240, []byte{52, 1, 3}...) // both
			}
			s.reply = func(_, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { a.Options.Del(dhcpv4.OptionDomainNameServer); return a }
		})
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		l := s.link("eth0")
		if len(l.DNS) != 1 || l.DNS[0] != netip.MustParseAddr("192.0.2.53") || !slices.Equal(l.Domains, []string{"org"}) {
			t.Errorf("DNS %v, domains %v; want those in the fields of the names", l.DNS, l.Domains)
		}
	})
}

// faults/network.md M7: what IPv6 cannot live with is not taken.
func TestLeaseMTU(t *testing.T) {
	for _, row := range []struct{ told, want int }{{576, 1500}, {1279, 1500}, {1280, 1280}, {9000, 9000}, {9217, 1500}} {
		fake(t, func() *fakeKernel {
			k := one()
			serve(k, 1, 1, func(s *server) {
				s.reply = func(_, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
					a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(row.told >> 8), byte(row.told)}))
					return a
				}
			})
			return k
		}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
			settle()
			if d, _ := k.Devices(); d[0].MTU != row.want {
				t.Errorf("MTU %d was told, and the link has %d, want %d", row.told, d[0].MTU, row.want)
			}
		})
	}
}

// faults/network.md Low: a lease from before the cable was pulled does not
// keep the link from an IPv4 link-local address, and that one goes when a
// lease comes.
func TestLinkLocalAfterMove(t *testing.T) {
	var dhcp *server
	fake(t, func() *fakeKernel {
		k := one()
		dhcp = serve(k, 1, 1, nil)
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		k.carrier(1, false)
		dhcp.conn.Close()
		settle()
		k.carrier(1, true)
		time.Sleep(20 * time.Second)
		if got := s.addrs("eth0"); !strings.Contains(got, "169.254.") {
			t.Errorf("on a LAN without DHCP: addresses %q, want a link-local one, too", got)
		}
		serve(k, 1, 2, nil)
		time.Sleep(90 * time.Second)
		if got := s.addrs("eth0"); got != "192.0.2.102/24" {
			t.Errorf("with a lease: addresses %q, want it alone", got)
		}
	})
}
