package discover_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

func TestMain(m *testing.M) { testlan.Main(m) }

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// cable makes a link between here, 192.0.2.10, and a peer, 192.0.2.1.
func cable(t testing.TB) *testlan.Peer {
	t.Helper()
	lan := testlan.NewPeer(t)
	lan.Connect("eth0", "lan0")
	lan.Run("sysctl", "-qw", "net.ipv6.conf.lan0.accept_dad=0")
	testlan.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
	lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
	lan.Run("ip", "link", "set", "lan0", "up")
	testlan.Run(t, "ip", "addr", "add", "192.0.2.10/24", "dev", "eth0")
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
	return lan
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
	lan.Start(bin, "--host", "kms.local", "--target", "192.0.2.5:8443", "--verbose")
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
