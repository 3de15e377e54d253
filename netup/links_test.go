package netup_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/netup"
)

// faults/network.md H3 and M5: which devices are set up, and which are told.
// Each row is one device beside eth0; "up" is brought up, "asks" is told and
// gets a lease.
func TestWhatIsALink(t *testing.T) {
	device := func(kind string, change func(*netup.Device)) netup.Device {
		d := eth(2)
		d.Kind = kind
		if change != nil {
			change(&d)
		}
		return d
	}
	bus := func(d *netup.Device) { d.Place.Bus = true }
	for _, row := range []struct {
		name, cmdline string
		device        netup.Device
		up, asks      bool
	}{
		{"hardware", "", device("", nil), true, true},
		{"a veth in a container", "", device("veth", nil), true, true},
		{"IP over InfiniBand", "", device("ipoib", bus), true, true},
		{"port of a switch chip", "", device("dsa", bus), true, true},
		{"a VLAN that somebody made", "", device("vlan", nil), false, false},
		{"a bridge that somebody made", "", device("bridge", nil), false, false},
		{"a dummy", "", device("dummy", nil), false, false},
		{"tunnel", "", device("", func(d *netup.Device) { d.Ether = false }), false, false},
		{"Wi-Fi", "", device("", func(d *netup.Device) { d.Place = netup.Place{Bus: true, Radio: true} }), false, false},
		{"port of another", "", device("", func(d *netup.Device) { d.Master = 1 }), false, false},
		{"off", "ip=eth1:off ip=eth0:dhcp", device("", nil), false, false},
		{"off and carries a VLAN", "ip=eth1:off vlan=eth1.5:eth1 ip=eth1.5:dhcp", device("", nil), true, false},
		{"off for all and carries a VLAN", "ip=off vlan=shop.5:eth1", device("", nil), true, false},
		{"off in one line, DHCP in another", "ip=dhcp ip=off", device("", nil), true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings, problems := parse(t, row.cmdline)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			fake(t, func() *fakeKernel {
				k := newKernel(eth(1), row.device)
				serve(k, 2, 1, nil)
				return k
			}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				settle()
				settle()
				if got := slices.Contains(k.told("SetUp"), "SetUp{Index:2}"); got != row.up {
					t.Errorf("brought up: %v, want %v", got, row.up)
				}
				if got := s.addrs("eth1") == "192.0.2.101/24"; got != row.asks || (s.link("eth1").Name != "") != row.asks {
					t.Errorf("eth1 is %+v, want a lease: %v", s.link("eth1"), row.asks)
				}
			})
		})
	}
}

// The processor's side of a switch chip carries its ports and has no
// addresses, also if the ports come later.
func TestConduit(t *testing.T) {
	fake(t, func() *fakeKernel {
		k := one()
		serve(k, 1, 1, nil)
		return k
	}, parsed(t, ""), func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		port := eth(2)
		port.Name, port.Kind, port.Lower, port.Place.Bus = "lan1", "dsa", 1, true
		k.plug(port)
		serve(k, 2, 2, nil)
		settle()
		d, _ := k.Devices()
		if s.link("eth0").Name != "" || !d[0].Up || s.addrs("lan1") != "192.0.2.102/24" {
			t.Errorf("links are %+v, want lan1 with an address, eth0 up and not told", s.links)
		}
	})
}

// recorded runs netup on a fake kernel for a while and returns its log.
func recorded(t *testing.T, k func() *fakeKernel, cmdline string, d time.Duration) (log string, kernel *fakeKernel, last []netup.Link) {
	t.Helper()
	var said bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		kernel = k()
		done := make(chan error)
		logger := slog.New(slog.NewTextHandler(&said, nil))
		go func() {
			done <- netup.Run(ctx, kernel, parsed(t, cmdline), logger, func(l []netup.Link) { last = l })
		}()
		time.Sleep(d)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		synctest.Wait()
		kernel.mu.Lock()
		lans := maps.Clone(kernel.lans)
		kernel.mu.Unlock()
		for _, lan := range lans {
			lan.Close()
		}
		time.Sleep(time.Hour)
	})
	return said.String(), kernel, last
}

// faults/network.md H1: a name that no link has is said at once, with the
// links that are there.
func TestWrongName(t *testing.T) {
	const guess = "is not there; check the name"
	second := func(up bool) func() *fakeKernel {
		return func() *fakeKernel {
			d := eth(1)
			d.Place.Names = []string{"eno1np0", "enp65s0f0np0"}
			k := newKernel(d, eth(2))
			k.fail = func(op netup.Op) error {
				if o, ok := op.(netup.SetUp); ok && o.Index == 2 && !up {
					return errors.New("no cable")
				}
				return nil
			}
			return k
		}
	}
	for _, row := range []struct {
		name, cmdline string
		kernel        func() *fakeKernel
		said          bool
	}{
		{"ip=", "ip=eno1:dhcp", second(false), true},
		{"vlan=", "vlan=lan.5:eno1", second(false), true},
		{"bond=", "bond=bond0:eno1", second(false), true},
		{"bootdev=", "bootdev=eno1", second(false), true},
		{"udev's name", "ip=eno1np0:dhcp", second(false), false},
		{"two have carrier", "ip=eno1:dhcp", second(true), true},
		{"another option is right", "ip=eno1:dhcp ip=eth0:dhcp", second(false), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			log, _, _ := recorded(t, row.kernel, row.cmdline, 2*time.Second)
			if n := strings.Count(log, guess); n != map[bool]int{true: 1}[row.said] {
				t.Errorf("the guess was said %d times, want it once: %v\n%s", n, row.said, log)
			}
			if row.said && !strings.Contains(log, `there="eth0 02:00:00:00:00:01 eno1np0 enp65s0f0np0 carrier, eth1 02:00:00:00:00:02 `) {
				t.Errorf("the log does not say what the link is called:\n%s", log)
			}
		})
	}
}

// faults/network.md M8: what cannot be done is tried again, ever less often,
// and said once.
func TestRetries(t *testing.T) {
	for _, row := range []struct {
		name, cmdline, op string
	}{
		{"VLAN", "vlan=eth0.5:eth0", "AddVLAN"},
		{"bridge", "bridge=br0:eth0", "AddBridge"},
		{"port of a bridge", "bridge=br0:eth0", "SetMaster"},
		{"port of a bond", "bond=bond0:eth0:mode=1", "SetMaster"},
		{"bringing up", "ip=eth0:dhcp", "SetUp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var start time.Time
			log, k, _ := recorded(t, func() *fakeKernel {
				start = time.Now()
				k := one()
				k.fail = func(op netup.Op) error {
					if opName(op) == row.op && time.Since(start) < 10*time.Minute {
						return errors.New("not now")
					}
					return nil
				}
				return k
			}, row.cmdline, 11*time.Minute)
			if n := len(k.told(row.op)); n < 15 || n > 60 {
				t.Errorf("%s was tried %d times in ten minutes, want about every 30 s", row.op, n)
			}
			if n := strings.Count(log, "not now"); n != 1 {
				t.Errorf("the failure was said %d times, want once:\n%s", n, log)
			}
			devices, _ := k.Devices()
			joined := row.op != "SetMaster" || devices[0].Master != 0
			if !joined || !devices[len(devices)-1].Up {
				t.Errorf("after ten minutes the devices are %+v, want all of it done", devices)
			}
		})
	}
}

// faults/network.md M8: the bonding driver is told the kernel's name of the
// port that primary= means.
func TestBondPrimary(t *testing.T) {
	for _, row := range []struct {
		primary string
		want    []string
	}{
		{"enp2s0", []string{"SetBondOption{Bond:bond0 BondOption:{Name:primary Value:eth1}}"}},
		{"eth1", nil},
	} {
		fake(t, func() *fakeKernel {
			second := eth(2)
			second.Place.Names = []string{"enp2s0"}
			return newKernel(eth(1), second)
		}, parsed(t, "bond=bond0:eth0,enp2s0:mode=1,primary="+row.primary), func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
			settle()
			settle()
			if got := k.told("SetBondOption"); !slices.Equal(got, row.want) {
				t.Errorf("primary=%s: operations %q, want %q", row.primary, got, row.want)
			}
			if got := len(k.told("SetMaster")); got != 2 {
				t.Errorf("%d ports joined, want both", got)
			}
		})
	}
}

// faults/network.md, section 5: sysfs is read once for each device, however
// often something changes, and again under another name.
func TestPlaceIsAskedOnce(t *testing.T) {
	fake(t, func() *fakeKernel { return newKernel(eth(1), eth(2)) }, parsed(t, "ifname=lan0:02:00:00:00:00:01"), func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		for range 50 {
			k.carrier(2, false)
			settle()
			k.carrier(2, true)
			settle()
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		slices.Sort(k.placed)
		if want := []string{"eth0", "eth1", "lan0"}; !slices.Equal(k.placed, want) {
			t.Errorf("Place was called for %d devices (%.5q …), want %q", len(k.placed), k.placed, want)
		}
	})
}
