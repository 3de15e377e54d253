package netup_test

import (
	"context"
	"strings"
	"testing"
	"time"
)

// When none of the links that ip= names is there in time, the others ask as
// if there were no ip=: a wrong name keeps no machine for ever. A link that
// the plan makes is there if what it stands on is.
func TestStranded(t *testing.T) {
	for _, row := range []struct {
		cmdline string
		after   time.Duration
		late    string // link of the second LAN once the name is there
	}{
		{"ip=eno1:dhcp", 10 * time.Second, "eth1"},
		{"ip=eno1:dhcp rd.net.timeout.iflink=60", time.Minute, "eth1"},
		{"ip=lan.5:dhcp vlan=lan.5:eno1", 10 * time.Second, ""},
		{"ip=br0:dhcp bridge=br0:bond0 bond=bond0:eno1", 10 * time.Second, ""},
	} {
		t.Run(row.cmdline, func(t *testing.T) {
			fake(t, func() *fakeKernel {
				k := one()
				serve(k, 1, 1, nil)
				return k
			}, parsed(t, row.cmdline), func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				time.Sleep(row.after - time.Second)
				if got := s.addrs("eth0"); got != "" {
					t.Errorf("before its time eth0 has %q, want nothing", got)
				}
				time.Sleep(3 * time.Second)
				if got := s.addrs("eth0"); got != "192.0.2.101/24" {
					t.Errorf("after %s eth0 has %q, want a lease", row.after, got)
				}
				if row.late == "" {
					return
				}
				late := eth(2)
				late.Place.Names = []string{"eno1"}
				k.plug(late)
				serve(k, 2, 2, nil)
				settle()
				if got := s.addrs(row.late); got != "192.0.2.102/24" {
					t.Errorf("the named link has come and has %q, want a lease", got)
				}
			})
		})
	}
}

// Two names of one link, or a plan that was not read from options, may give
// a port two masters: it stays where it is, and does not go to and fro.
func TestPortOfTwo(t *testing.T) {
	log, k, _ := recorded(t, func() *fakeKernel {
		d := eth(1)
		d.Place.Names = []string{"eno1"}
		return newKernel(d)
	}, "bond=bond0:eth0:mode=1 bridge=br0:eno1", time.Minute)
	if n := len(k.told("SetMaster")); n != 1 {
		t.Errorf("the port was moved %d times in a minute, want once", n)
	}
	if n := strings.Count(log, "is a port of another already"); n != 1 {
		t.Errorf("that was said %d times, want once:\n%s", n, log)
	}
}

// ip=link-local is an IPv4 link-local address (RFC 3927), as soon as probing
// allows and without asking DHCP; beside DHCP it stays when a lease comes.
func TestLinkLocal(t *testing.T) {
	for _, row := range []struct {
		cmdline string
		lease   bool
	}{{"ip=link-local", false}, {"ip=eth0:link-local", false}, {"ip=dhcp,link-local", true}} {
		t.Run(row.cmdline, func(t *testing.T) {
			fake(t, func() *fakeKernel {
				k := one()
				serve(k, 1, 1, nil)
				return k
			}, parsed(t, row.cmdline), func(t *testing.T, ctx context.Context, k *fakeKernel, s *state) {
				time.Sleep(time.Minute)
				got := s.addrs("eth0")
				if !strings.Contains(got, "169.254.") || strings.Contains(got, "192.0.2.101/24") != row.lease {
					t.Errorf("eth0 has %q, want a link-local address, and a lease: %t", got, row.lease)
				}
			})
		})
	}
}
