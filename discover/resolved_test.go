package discover_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

// resolved starts systemd-resolved with multicast DNS on a Debian whose
// host name is kms; it announces the service kms, if that is wanted.
func resolved(t testing.TB, service bool) *testlan.Peer {
	t.Helper()
	lan := testlan.NewDebian(t, true)
	joined(t, lan)
	lan.Run("mkdir", "-p", "/run/systemd/resolved.conf.d", "/run/systemd/dnssd")
	lan.Write("/run/systemd/resolved.conf.d/mdns.conf", "[Resolve]\nMulticastDNS=yes\nLLMNR=no\n")
	if service {
		lan.Write("/run/systemd/dnssd/kms.dnssd", "[Service]\nName=%H\nType=_latchkey._tcp\nPort=8443\nTxtText=v=1\n")
	}
	lan.Start("dbus-daemon", "--system", "--nofork", "--nopidfile")
	testlan.Await(t, "dbus-daemon", func() bool { return lan.Command("test", "-S", "/run/dbus/system_bus_socket").Run() == nil })
	lan.Start("/usr/lib/systemd/systemd-resolved")
	testlan.Await(t, "systemd-resolved", func() bool { return lan.Command("resolvectl", "mdns", "lan0", "yes").Run() == nil })
	return lan
}

// TestResolvedFindsUs runs the other program.
//
// compatible: Discovery | systemd-resolved (Debian 13) | finds our responder
func TestResolvedFindsUs(t *testing.T) {
	testlan.NeedDebian(t)
	lan := resolved(t, false)
	respond(t, []string{"eth0"}, discover.Announcement{
		Host: "boot.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("2001:db8::5")}, Port: 8443,
		Services: []string{"_latchkey._tcp"}, Instance: "Key server", Text: []string{"v=1"},
	})

	for _, row := range []struct {
		args []string
		want []string
	}{
		{[]string{"query", "boot.local"}, []string{"192.0.2.5", "2001:db8::5"}},
		{[]string{"query", "--type=PTR", "_latchkey._tcp.local"}, []string{`Key\032server._latchkey._tcp.local`}},
		{[]string{"service", "Key server", "_latchkey._tcp", "local"}, []string{"boot.local:8443", "192.0.2.5", "v=1"}},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			var out string
			testlan.Await(t, "an answer", func() bool { // the first may come before we have probed
				text, err := lan.Command("resolvectl", append([]string{"--cache=no"}, row.args...)...).CombinedOutput()
				out = string(text)
				return err == nil
			})
			for _, w := range row.want {
				if !strings.Contains(out, w) {
					t.Errorf("output lacks %q:\n%s", w, out)
				}
			}
		})
	}
}

// TestFindResolved runs the other program.
//
// compatible: Discovery | systemd-resolved (Debian 13) | its name is found
func TestFindResolved(t *testing.T) {
	testlan.NeedDebian(t)
	resolved(t, true)
	for _, row := range []struct {
		name  string
		query discover.Query
		want  string
	}{
		{"host", discover.Query{URLs: []string{"http://kms.local"}}, "192.0.2.1:7741"},
		{"service", discover.Query{Services: []string{"_latchkey._tcp"}}, "192.0.2.1:8443"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := find(t, row.query)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			for {
				c, err := f.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if c.Addr.String() == row.want && c.Host == "kms.local" {
					return
				}
			}
		})
	}
}

// Two on one LAN that want the same name end up with two: resolved gives
// its name up when another machine probes for it.
//
// compatible: Discovery | systemd-resolved (Debian 13) | two that want one name end with two
func TestConflictWithResolved(t *testing.T) {
	testlan.NeedDebian(t)
	lan := resolved(t, false)
	r := respond(t, []string{"eth0"}, discover.Announcement{
		Host: "kms.local", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Port: 8443, Services: []string{"_latchkey._tcp"},
	})
	testlan.Await(t, "two names", func() bool {
		if r.Announcements()[0].Host == "kms-2.local" {
			return true
		}
		out, _ := lan.Command("resolvectl", "--cache=no", "query", "kms.local").CombinedOutput()
		return strings.Contains(string(out), "192.0.2.5") && !strings.Contains(string(out), "192.0.2.1")
	})
}
