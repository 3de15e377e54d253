package netup_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"latchkey/internal/plan"
	"latchkey/netup"
)

// settle lets what is under way come to its end, within a second.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func TestSeveralLinks(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := newKernel(eth(1), eth(2), eth(3), netup.Device{Index: 9, Name: "lo"}, netup.Device{Index: 8, Name: "sit0", Kind: "sit"})
		serve(k, 2, 1, nil) // eth1 has a server, eth0 is dead, eth2 silent
		k.fail = func(op netup.Op) error {
			if up, ok := op.(netup.SetUp); ok && up.Index == 1 {
				return errors.New("no firmware")
			}
			return nil
		}
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		if got := s.addrs("eth1"); got != "192.0.2.101/24" {
			t.Errorf("eth1 has %q, want 192.0.2.101/24", got)
		}
		if s.link("eth0").Up || !s.link("eth2").Up || s.link("lo").Name != "" || s.link("sit0").Name != "" {
			t.Errorf("links are %+v, want eth0 down, eth2 up, no lo and no sit0", s.links)
		}

		// The dead link is tried again, ever more slowly.
		time.Sleep(time.Hour)
		n := 0
		for _, op := range k.told("SetUp") {
			if op == "SetUp{Index:1}" {
				n++
			}
		}

		if n < 60 || n > 200 {
			t.Errorf("eth0 was tried %d times in an hour, want about every 30 s", n)
		}
	})
}

func TestHotPlug(t *testing.T) {
	fake(t, func() *fakeKernel { return newKernel() }, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(20 * time.Second)
		k.plug(eth(1))
		serve(k, 1, 1, nil)
		settle()
		if got := s.addrs("eth0"); got != "192.0.2.101/24" {
			t.Errorf("plugged in late, eth0 has %q, want 192.0.2.101/24", got)
		}

		k.unplug(1)
		settle()
		if s.link("eth0").Name != "" {
			t.Errorf("unplugged, eth0 is still told: %+v", s.link("eth0"))
		}
		k.plug(eth(1))
		serve(k, 1, 2, nil)
		settle()
		if got := s.addrs("eth0"); got != "192.0.2.102/24" {
			t.Errorf("plugged in again, eth0 has %q, want 192.0.2.102/24", got)
		}
	})
}

func TestFlap(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, func(s *server) { s.delay = 300 * time.Millisecond })
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		for range 20 { // never up for long enough
			k.carrier(1, false)
			time.Sleep(200 * time.Millisecond)
			k.carrier(1, true)
			time.Sleep(200 * time.Millisecond)
		}

		if got := s.addrs("eth0"); got != "" {
			t.Errorf("while flapping eth0 has %q, want nothing yet", got)
		}
		settle()
		if got := s.addrs("eth0"); got != "192.0.2.101/24" {
			t.Errorf("1 s after the last flap eth0 has %q, want 192.0.2.101/24", got)
		}

		// A short interruption does not take the address away.
		k.carrier(1, false)
		settle()
		if l := s.link("eth0"); l.Up || s.addrs("eth0") != "192.0.2.101/24" {
			t.Errorf("without carrier eth0 is %+v, want its address kept", l)
		}
	})
}

// A bridge gets another MAC with its first port: DHCP starts anew, with
// the MAC to which answers come.
func TestAnotherMAC(t *testing.T) {
	var dhcp *server
	fake(t, func() *fakeKernel {
		k := one()
		dhcp = serve(k, 1, 1, func(s *server) { s.delay = 300 * time.Millisecond })
		return k
	}, plan.Net{}, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		time.Sleep(100 * time.Millisecond) // a Discover is on its way
		k.mu.Lock()
		d := k.devices[1]
		d.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x77}
		k.devices[1] = d
		k.mu.Unlock()
		k.poke()
		settle()
		settle()
		if l := s.link("eth0"); l.Lease == nil || dhcp.mac.Load() != "02:00:00:00:00:77" {
			t.Errorf("eth0 is %+v, and the last request came from %v; want a lease, asked for with the new MAC", l, dhcp.mac.Load())
		}
	})
}

// The operations of a whole life, in order.
func TestOperations(t *testing.T) {
	for _, row := range []struct {
		name, cmdline string
		server        func(*server)
		want          []string
	}{
		{"static", "ip=192.0.2.5::192.0.2.1:24::eth0:none:1400:02:00:00:00:00:77", nil, []string{
			"SetMTU{Index:1 MTU:1400}", "SetMAC{Index:1 MAC:02:00:00:00:00:77}", "SetUp{Index:1}",
			"AddAddr{Index:1 Prefix:192.0.2.5/24 Peer:invalid IP Valid:0s}", "AddRoute{Index:1 To:0.0.0.0/0 Via:192.0.2.1 Metric:1001}",
		}},
		{"peer", "ip=192.0.2.5:198.51.100.1::32::eth0:none", nil, []string{
			"SetUp{Index:1}", "AddAddr{Index:1 Prefix:192.0.2.5/32 Peer:198.51.100.1 Valid:0s}",
		}},
		{"the kernel's boot server is no peer", "ip=192.0.2.5:192.0.2.2::24::eth0:none", nil, []string{
			"SetUp{Index:1}", "AddAddr{Index:1 Prefix:192.0.2.5/24 Peer:invalid IP Valid:0s}",
		}},
		{"lease", "bootdev=eth0 rd.route=198.51.100.0/24:192.0.2.9", nil, []string{
			"SetUp{Index:1}", "AddAddr{Index:1 Prefix:192.0.2.101/24 Peer:invalid IP Valid:1h0m0s}",
			"AddRoute{Index:1 To:0.0.0.0/0 Via:192.0.2.1 Metric:100}", "AddRoute{Index:1 To:198.51.100.0/24 Via:192.0.2.9 Metric:100}",
		}},
		{"booted from", "BOOTIF=01-02-00-00-00-00-01", nil, []string{
			"SetUp{Index:1}", "AddAddr{Index:1 Prefix:192.0.2.101/24 Peer:invalid IP Valid:1h0m0s}", "AddRoute{Index:1 To:0.0.0.0/0 Via:192.0.2.1 Metric:200}",
		}},
		{"lease with MTU and classless routes", "", func(s *server) {
			s.reply = func(_, a *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{0x05, 0x78}))
				a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{
					0, 203, 0, 113, 1, // default by 203.0.113.1, which the second says is on the link
					32, 203, 0, 113, 1, 0, 0, 0, 0,
				}))
				return a
			}
		}, []string{
			"SetUp{Index:1}", "AddAddr{Index:1 Prefix:192.0.2.101/24 Peer:invalid IP Valid:1h0m0s}", "SetMTU{Index:1 MTU:1400}",
			"AddRoute{Index:1 To:203.0.113.1/32 Via:invalid IP Metric:1001}", "AddRoute{Index:1 To:0.0.0.0/0 Via:203.0.113.1 Metric:1001}",
		}},
		{"off", "ip=eth0:off ip=:::::eth0:off", nil, nil},
		{"VLAN", "vlan=eth0.5:eth0 ip=eth0.5:dhcp ip=eth0:link6", nil, []string{
			"AddVLAN{VLAN:{Name:eth0.5 On:eth0 ID:5} Parent:1}", "SetUp{Index:1}", "SetUp{Index:101}",
		}},
		{"bridge", "bridge=br0:eth0", nil, []string{
			"AddBridge{Name:br0}", "SetUp{Index:101}", "SetMaster{Index:1 Master:101}", "SetUp{Index:1}",
		}},
		{"bond", "bond=bond0:eth0:mode=1", nil, []string{
			"AddBond{Bond:{Name:bond0 Ports:[eth0] Options:[{Name:mode Value:active-backup}] MTU:0}}", "SetUp{Index:101}", "SetMaster{Index:1 Master:101}", "SetUp{Index:1}",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings, problems := parse(t, row.cmdline)
			if len(problems) > 0 && row.name != "off" {
				t.Fatal(problems)
			}
			fake(t, func() *fakeKernel {
				k := one()
				serve(k, 1, 1, row.server)
				return k
			}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				settle()
				got := k.told("SetUp", "SetDown", "SetMTU", "SetMAC", "SetMaster", "Add")
				if diff := cmp.Diff(row.want, got); diff != "" {
					t.Errorf("operations (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// parsed are the settings of a command line without problems.
func parsed(t *testing.T, cmdline string) plan.Net {
	t.Helper()
	settings, problems := parse(t, cmdline)
	if len(problems) > 0 {
		t.Fatalf("%q: %v", cmdline, problems)
	}
	return settings
}

func parse(t *testing.T, cmdline string) (plan.Net, []plan.Problem) {
	t.Helper()
	args, err := plan.SplitCmdline(cmdline)
	if err != nil {
		t.Fatal(err)
	}
	return plan.ParseNet(args)
}

// A link that had carrier stays quiet about what it cannot have: a kernel
// without IPv6 still gets its IPv4 address, and no name server that
// rd.peerdns=0 forbids is told.
func TestView(t *testing.T) {
	settings, _ := parse(t, "nameserver=192.0.2.53 rd.peerdns=0")
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, nil)
		return k
	}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		l := s.link("eth0")
		if !slices.Equal(l.DNS, []netip.Addr{netip.MustParseAddr("192.0.2.53")}) {
			t.Errorf("DNS = %v, want only that of nameserver=", l.DNS)
		}
		if !slices.Equal(l.Gateways, []netip.Addr{netip.MustParseAddr("192.0.2.1")}) {
			t.Errorf("Gateways = %v, want 192.0.2.1", l.Gateways)
		}
		if l.Lease == nil || strings.Join(l.Lease.Domains, " ") != "" || l.Lease.Valid != time.Hour {
			t.Errorf("Lease = %+v, want one of an hour", l.Lease)
		}
	})
}
