package discover_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

// wire is a cable between eth0 here and lan0 there, with these addresses and
// perhaps without IPv6.
func wire(t testing.TB, here, there []string, v6 bool) *testlan.Peer {
	t.Helper()
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	off := fmt.Sprintf("net.ipv6.conf.eth0.disable_ipv6=%d", map[bool]int{false: 1}[v6])
	testlan.Run(t, "sysctl", "-qw", off, "net.ipv6.conf.eth0.accept_dad=0")
	testlan.Run(t, "nsenter", "--net="+lan.Net(), "sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=0")
	for _, a := range here {
		testlan.Run(t, "ip", "addr", "add", a, "dev", "eth0", "nodad")
	}
	for _, a := range there {
		lan.Run("ip", "addr", "add", a, "dev", "lan0", "nodad")
	}
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
	lan.Run("ip", "link", "set", "lan0", "up")
	return lan
}

// Machines that are set up oddly find the key server. faults/network.md D1.
func TestOddMachines(t *testing.T) {
	testlan.Need(t)
	bin := testlan.Build(t, "latchkey/cmd/latchkey-responder")
	for _, row := range []struct {
		name        string
		here, there []string
		v6          bool
	}{
		{"an address without a network", []string{"192.0.2.10/32"}, []string{"192.0.2.1/24"}, false},
		{"neither has a network", []string{"192.0.2.10/32"}, []string{"192.0.2.1/32"}, false},
		{"another network on the wire", []string{"198.51.100.10/24"}, []string{"192.0.2.1/24"}, false},
		{"a link-local address beside a network", []string{"169.254.7.7/16"}, []string{"192.0.2.1/24"}, false},
		{"IPv6 is off", []string{"192.0.2.10/24"}, []string{"192.0.2.1/24"}, false},
		{"IPv4 is off", nil, []string{"192.0.2.1/24"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			lan := wire(t, row.here, row.there, row.v6)
			lan.Start(bin, "--interface", "lan0", "--target", "192.0.2.5:8443", "--check", "off")
			f := find(t, discover.Query{URLs: []string{"http://kms.local:8443"}})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			c, err := f.Next(ctx)
			if err != nil || c.Addr != netip.MustParseAddrPort("192.0.2.5:8443") {
				t.Errorf("Next() = %v, %v, want 192.0.2.5:8443", c, err)
			}
		})
	}
}

// mdnsSocket is another program's socket on port 5353.
func mdnsSocket(t *testing.T) net.PacketConn {
	t.Helper()
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return err
	}}
	conn, err := reuse.ListenPacket(t.Context(), "udp4", "0.0.0.0:5353")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Unicast answers for another program of this host reach it, whoever was
// started first. faults/network.md D2.
func TestOthersKeepTheirUnicast(t *testing.T) {
	testlan.Need(t)
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("the other first: %v", first), func(t *testing.T) {
			lan := cable(t)
			var other net.PacketConn
			if first {
				other = mdnsSocket(t)
			}
			respond(t, []string{"eth0"}, kms)
			f, err := discover.NewFinder(discover.Query{URLs: []string{"http://kms.local"}}, discover.System{Shared: true}, logger(t))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			go f.Run(ctx)
			go discover.WatchInterfaces(ctx, []string{"eth0"}, f.Update)
			if _, err := f.Next(ctx); err != nil {
				t.Fatal("not found by a finder on the responder's own host")
			}

			if !first {
				other = mdnsSocket(t)
			}
			lan.Run("env", as(t, "twenty-packets")...)
			other.SetReadDeadline(time.Now().Add(5 * time.Second))
			buf, got := make([]byte, 100), 0
			for got < 20 {
				n, _, err := other.ReadFrom(buf)
				if err != nil {
					break
				}
				if string(buf[:n]) == "for you" {
					got++
				}
			}
			if got != 20 {
				t.Errorf("the other program heard %d of 20 packets", got)
			}
		})
	}
}

func init() {
	peers["twenty-packets"] = func() error {
		conn, err := net.Dial("udp4", "192.0.2.10:5353")
		if err != nil {
			return err
		}
		for range 20 {
			if _, err := conn.Write([]byte("for you")); err != nil {
				return err
			}
		}
		return nil
	}
	// advertise answers for a key server at the host's own addresses,
	// elsewhere for one that is not on the host.
	own := kms
	own.Addrs, own.OwnName = nil, true
	peers["advertise"] = func() error { return advertise(own) }
	peers["elsewhere"] = func() error { return advertise(kms) }
}

func advertise(a discover.Announcement) error {
	r, err := discover.NewResponder([]discover.Announcement{a}, discover.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	go r.Run(context.Background())
	return discover.WatchInterfaces(context.Background(), []string{"lan0"}, r.Update)
}

// What the sockets promise to the wire: RFC 6762, section 11, and ip(7).
func TestSocketOptions(t *testing.T) {
	testlan.Need(t)
	cable(t)
	link := discover.Interface{Index: index(t, "eth0"), Name: "eth0"}
	for _, v6 := range []bool{false, true} {
		conn, err := discover.System{}.Group(link, v6)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if ip := conn.LocalAddr().(*net.UDPAddr).IP; !ip.IsMulticast() {
			t.Errorf("Group() is bound to %s, want the group", ip)
		}
		raw, err := conn.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		options := map[string][2]int{"TTL": {unix.IPPROTO_IP, unix.IP_TTL}, "multicast TTL": {unix.IPPROTO_IP, unix.IP_MULTICAST_TTL}}
		if v6 {
			options = map[string][2]int{"hops": {unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}, "multicast hops": {unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS}}
		}
		raw.Control(func(fd uintptr) {
			for name, o := range options {
				if n, err := unix.GetsockoptInt(int(fd), o[0], o[1]); n != 255 {
					t.Errorf("%s = %d, %v, want 255", name, n, err)
				}
			}
		})
	}
	if _, err := (discover.System{Shared: true}).Direct(link, false); err == nil {
		t.Error("Direct() of a shared host = nil, want an error")
	}
}

// On a host that is called kms, avahi-daemon and a key server's responder both
// say kms.local: neither takes another name. faults/network.md D4.
func TestBesideAvahi(t *testing.T) {
	testlan.Need(t, "avahi-daemon", "avahi-browse", "dbus-daemon")
	for _, row := range []struct {
		name  string
		order string // a: avahi starts, r: the responder does, A: avahi starts again
	}{{"avahi first", "ar"}, {"the responder first", "ra"}, {"avahi again", "arA"}} {
		t.Run(row.name, func(t *testing.T) {
			lan := wire(t, []string{"192.0.2.10/24"}, []string{"192.0.2.1/24", "2001:db8::1/64"}, true)
			bus(t, lan, "kms")
			var said []func() string
			for _, step := range row.order {
				switch step {
				case 'A':
					said[0]()
					said = nil
					fallthrough
				case 'a':
					said = append(said, lan.Watch("sh", "-c", "exec avahi-daemon --no-drop-root --no-rlimits --no-chroot -f /run/avahi.conf 2>&1"))
					testlan.Await(t, "avahi-daemon", func() bool { return lan.Command("avahi-browse", "-t", "-a").Run() == nil })
				case 'r':
					lan.Start("env", as(t, "advertise")...)
				}
			}

			found := map[netip.Addr]bool{}
			f := find(t, discover.Query{Services: []string{"_latchkey._tcp"}})
			testlan.Await(t, "both addresses of the host", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
				defer cancel()
				if c, err := f.Next(ctx); err == nil && c.Host == "kms.local" {
					found[c.Addr.Addr()] = true
				}
				return found[netip.MustParseAddr("192.0.2.1")] && found[netip.MustParseAddr("2001:db8::1")]
			})
			testlan.Await(t, "avahi's name", func() bool {
				return strings.Contains(lan.Run("avahi-resolve", "-4", "-n", "kms.local"), "192.0.2.1")
			})
			if log := said[len(said)-1](); strings.Contains(log, "conflict") || !strings.Contains(log, "Host name is kms.local") {
				t.Errorf("avahi-daemon has another name:\n%s", log)
			}
		})
	}
}

// A name that avahi-daemon on the same host has for something else is left to
// it, as one of another machine would be. faults/network.md D4.
func TestNameOfTheHost(t *testing.T) {
	testlan.Need(t, "avahi-daemon", "avahi-browse", "dbus-daemon")
	lan := cable(t)
	avahi(t, lan, "kms")
	lan.Start("env", as(t, "elsewhere")...)
	f := find(t, discover.Query{URLs: []string{"http://kms-2.local"}})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if c, err := f.Next(ctx); err != nil || c.Addr.Addr() != kms.Addrs[0] {
		t.Errorf("kms-2.local is at %v, %v, want %s", c, err, kms.Addrs[0])
	}
	if out := lan.Run("avahi-resolve", "-4", "-n", "kms.local"); !strings.Contains(out, "192.0.2.1") {
		t.Errorf("kms.local is %s, want the host's own 192.0.2.1", out)
	}
}
