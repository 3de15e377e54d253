package discover_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// cable makes a link between here, 192.0.2.10, and a peer, 192.0.2.1.
func cable(t testing.TB) *testlan.Peer {
	t.Helper()
	lan := testlan.NewPeer(t)
	joined(t, lan)
	return lan
}

func joined(t testing.TB, lan *testlan.Peer) {
	t.Helper()
	lan.Connect("eth0", "lan0")
	testlan.Run(t, "nsenter", "--net="+lan.Net(), "sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=0")
	testlan.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
	lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	testlan.Run(t, "ip", "addr", "add", "192.0.2.10/24", "dev", "eth0")
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
}

func find(t testing.TB, q discover.Query) *discover.Finder {
	t.Helper()
	f, err := discover.NewFinder(q, discover.System{}, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	go discover.WatchInterfaces(ctx, []string{"eth0"}, f.Update)
	t.Cleanup(func() { cancel(); <-done })
	return f
}

func TestFindOurResponder(t *testing.T) {
	testlan.Need(t)
	bin := testlan.Build(t, "latchkey/cmd/latchkey-responder")
	lan := cable(t)
	lan.Start(bin, "--host", "kms.local", "--target", "192.0.2.5:8443", "--check", "off", "--verbose")
	f := find(t, discover.Query{URLs: []string{"http://kms.local:8443"}})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := f.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddrPort("192.0.2.5:8443"); c.Addr != want {
		t.Errorf("Next() = %v, want address %s", c, want)
	}
}

func TestFindByDNS(t *testing.T) {
	testlan.Need(t, "dnsmasq")
	lan := cable(t)
	lan.Start("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--interface=lan0", "--bind-interfaces", "--log-queries",
		"--host-record=kms.example.org,192.0.2.5,2001:db8::5", "--cname=alias.example.org,kms.example.org",
		"--srv-host=_latchkey._tcp.example.org,kms.example.org,8443")
	link := discover.Interface{
		Index: index(t, "eth0"), Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")},
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("192.0.2.1")}, Domains: []string{"example.org"},
	}
	for _, row := range []struct {
		name  string
		query discover.Query
		want  []string
	}{
		{"name", discover.Query{URLs: []string{"http://kms.example.org"}}, []string{"192.0.2.5:7741", "[2001:db8::5]:7741"}},
		{"alias", discover.Query{URLs: []string{"http://alias.example.org:1"}}, []string{"192.0.2.5:1", "[2001:db8::5]:1"}},
		{"service", discover.Query{Services: []string{"_latchkey._tcp"}}, []string{"192.0.2.5:8443", "[2001:db8::5]:8443"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, err := discover.NewFinder(row.query, discover.System{}, logger(t))
			if err != nil {
				t.Fatal(err)
			}

			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			done := make(chan struct{})
			go func() { f.Run(ctx); close(done) }()
			defer func() { cancel(); <-done }()
			f.Update([]discover.Interface{link})
			var got []string

			for range row.want {
				c, err := f.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, c.Addr.String())
			}

			slices.Sort(got)
			if !slices.Equal(got, row.want) {
				t.Errorf("candidates = %v, want %v", got, row.want)
			}
		})
	}
}

func index(t testing.TB, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return i.Index
}

// avahi starts avahi-daemon, with the bus it needs, on a peer.
func avahi(t testing.TB, lan *testlan.Peer, host string) {
	t.Helper()
	bus(t, lan, host)
	lan.Start("avahi-daemon", "--no-drop-root", "--no-rlimits", "--no-chroot", "-f", "/run/avahi.conf")
	testlan.Await(t, "avahi-daemon", func() bool { return lan.Command("avahi-browse", "-t", "-a").Run() == nil })
}

// bus starts the bus that avahi-daemon needs, and writes its settings.
func bus(t testing.TB, lan *testlan.Peer, host string) {
	t.Helper()
	lan.Run("sh", "-c", `mkdir -p /run/dbus /run/avahi-daemon && printf '[server]\nhost-name=%s\nuse-ipv4=yes\nuse-ipv6=yes\n[publish]\npublish-workstation=no\n' "$0" > /run/avahi.conf`, host)
	lan.Start("dbus-daemon", "--system", "--nofork", "--nopidfile")
	testlan.Await(t, "dbus-daemon", func() bool { return lan.Command("test", "-S", "/run/dbus/system_bus_socket").Run() == nil })
}

func respond(t testing.TB, links []string, all ...discover.Announcement) *discover.Responder {
	t.Helper()
	r, err := discover.NewResponder(all, discover.System{}, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	go discover.WatchInterfaces(ctx, links, r.Update)
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func TestAvahiFindsUs(t *testing.T) {
	testlan.Need(t, "avahi-daemon", "avahi-browse", "avahi-resolve", "dbus-daemon")
	lan := cable(t)
	respond(t, []string{"eth0"}, discover.Announcement{
		Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("2001:db8::5")}, Port: 8443,
		Services: []string{"_latchkey._tcp", "_kcrypt._tcp"}, Instance: "Key server v1.2", Text: []string{"v=1"},
	})

	avahi(t, lan, "other")
	for _, row := range []struct {
		args []string
		want []string
	}{
		{[]string{"avahi-resolve", "-4", "-n", "kms.local"}, []string{"192.0.2.5"}},
		{[]string{"avahi-resolve", "-6", "-n", "kms.local"}, []string{"2001:db8::5"}},
		{[]string{"avahi-browse", "-t", "-r", "-p", "_latchkey._tcp"}, []string{"kms.local;192.0.2.5;8443", `"v=1"`}},
		{[]string{"avahi-browse", "-t", "-r", "-p", "_kcrypt._tcp"}, []string{"kms.local;192.0.2.5;8443"}},
		{[]string{"avahi-browse", "-t", "-a"}, []string{"Key server v1.2", "_latchkey._tcp"}},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			out := lan.Run(row.args[0], row.args[1:]...)
			for _, w := range row.want {
				if !strings.Contains(out, w) {
					t.Errorf("output lacks %q:\n%s", w, out)
				}
			}
		})
	}
}

func TestConflictWithAvahi(t *testing.T) {
	testlan.Need(t, "avahi-daemon", "avahi-browse", "dbus-daemon")
	lan := cable(t)
	avahi(t, lan, "kms")
	r := respond(t, []string{"eth0"}, discover.Announcement{
		Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 8443, Services: []string{"_latchkey._tcp"},
	})
	testlan.Await(t, "another name", func() bool { return r.Announcements()[0].Host == "kms-2.local" })
	testlan.Await(t, "the other name's address", func() bool {
		return strings.Contains(lan.Run("avahi-resolve", "-4", "-n", "kms-2.local"), "192.0.2.5")
	})
	if out := lan.Run("avahi-resolve", "-4", "-n", "kms.local"); !strings.Contains(out, "192.0.2.1") {
		t.Errorf("kms.local is %s, want avahi's own 192.0.2.1", out)
	}
}
