package netup_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/netup"
)

// What Run did, Release undoes, whatever it was.
func TestReleaseUndoes(t *testing.T) {
	for _, cmdline := range []string{
		"", "ip=192.0.2.5::192.0.2.1:24::eth0:none:1400:02:00:00:00:00:77", "ifname=lan0:02:00:00:00:00:01", "ifname=eth1:02:00:00:00:00:01 ifname=eth0:02:00:00:00:00:02",
		"vlan=eth0.5:eth0", "bond=bond0:eth0,eth1:mode=1", "bridge=br0:eth0",
	} {
		t.Run(cmdline, func(t *testing.T) {
			settings, _ := parse(t, cmdline)
			before := []netup.Device{eth(1), eth(2)}
			var after []netup.Device
			fake(t, func() *fakeKernel {
				k := newKernel(before...)
				serve(k, 1, 1, nil)
				k.after = func() {
					if err := netup.Release(k, slog.New(slog.DiscardHandler)); err != nil {
						t.Errorf("Release() = %v, want nil", err)
					}
					after, _ = k.Devices()
				}
				return k
			}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) { settle(); settle() })

			for i := range after {
				after[i].Master = 0 // the kernel frees ports when their master goes
			}
			if diff := cmp.Diff(before, after, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Transformer("nil", func(a []netup.Addr) []netup.Addr {
				if len(a) == 0 {
					return nil
				}
				return a
			})); diff != "" {
				t.Errorf("devices (-before +after):\n%s", diff)
			}
		})
	}
}

// The bonding module makes bond0 when it is loaded, without our options.
func TestForeignBond(t *testing.T) {
	settings, _ := parse(t, "bond=bond0:eth0:mode=1")
	fake(t, func() *fakeKernel {
		foreign := eth(7)
		foreign.Name, foreign.Kind = "bond0", "bond"
		return newKernel(eth(1), foreign)
	}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
		settle()
		settle()
		if got := k.told("DelLink", "AddBond"); len(got) != 2 || got[0] != "DelLink{Index:7}" || !strings.HasPrefix(got[1], "AddBond") {
			t.Errorf("operations %q, want the foreign bond0 replaced once", got)
		}
		if !s.link("bond0").Up {
			t.Errorf("bond0 is %+v, want it up", s.link("bond0"))
		}
	})
}

// Owners write the names that udev would give.
func TestUdevNames(t *testing.T) {
	for _, name := range []string{"enp1s0", "ens3", "enx020000000001"} {
		settings, _ := parse(t, "ip="+name+":off ip=192.0.2.5/24::::::none")
		fake(t, func() *fakeKernel {
			one := eth(1)
			one.Place.Names = []string{"ens3", "enp1s0"}
			return newKernel(one, eth(2))
		}, settings, func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
			settle()
			if s.link("eth0").Name != "" || s.addrs("eth1") != "192.0.2.5/24" {
				t.Errorf("%s: links are %+v, want eth0 left alone", name, s.links)
			}
		})
	}
}

// What is missing for too long is said, once, and waited for all the same.
func TestComplaints(t *testing.T) {
	settings, _ := parse(t, "ip=eth9:dhcp ip=dhcp rd.net.timeout.carrier=5")
	var said bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k := newKernel(eth(1), eth(2))
		k.fail = func(op netup.Op) error {
			if up, ok := op.(netup.SetUp); ok && up.Index == 2 {
				return errors.New("no firmware")
			}
			return nil
		}

		done := make(chan error)
		log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
		go func() { done <- netup.Run(ctx, k, settings, log, func([]netup.Link) {}) }()
		time.Sleep(time.Hour)
		cancel()
		<-done
		time.Sleep(time.Hour)
	})

	for _, want := range []string{
		`msg="the link that the options name is not there; still waiting for it" link=eth9 for=1m0s`,
		`msg="the link that the options name is not there; check the name" named=eth9 there="eth0 02:00:00:00:00:01 carrier, eth1 02:00:00:00:00:02 no carrier"`,
		`msg="the link has no carrier; check the cable" link=eth1 for=5s`,
		`msg="the link has no address but a link-local one; still asking" link=eth0 for=20s`,
	} {
		if n := strings.Count(said.String(), want); n != 1 {
			t.Errorf("%q was said %d times, want once:\n%s", want, n, said.String())
		}
	}
}
