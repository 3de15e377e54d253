package netup_test

import (
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/plan"
	"latchkey/internal/testlan"
	"latchkey/netup"
)

const kea4 = `{"Dhcp4": {
	"interfaces-config": {"interfaces": ["lan0"]},
	"lease-database": {"type": "memfile", "name": "/var/lib/kea/leases4.csv"},
	"option-data": [
		{"name": "domain-name-servers", "data": "192.0.2.1"},
		{"name": "domain-search", "data": "example.org, shop.example.org"},
		{"name": "classless-static-route", "data": "198.51.100.0/24 - 192.0.2.7, 0.0.0.0/0 - 192.0.2.8"},
		{"name": "ntp-servers", "data": "192.0.2.3"}],
	"subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.10 - 192.0.2.10"}]}]}}`

const kea6 = `{"Dhcp6": {
	"interfaces-config": {"interfaces": ["lan0"]},
	"lease-database": {"type": "memfile", "name": "/var/lib/kea/leases6.csv"},
	"option-data": [{"name": "dns-servers", "data": "2001:db8::1"}, {"name": "domain-search", "data": "example.org"}],
	"subnet6": [{"id": 1, "subnet": "2001:db8::/64", "interface": "lan0", "pools": [{"pool": "2001:db8::100 - 2001:db8::100"}]}]}}`

const dhcpd = `authoritative;
default-lease-time 600;
option rfc3442-routes code 121 = array of integer 8;
subnet 192.0.2.0 netmask 255.255.255.0 {
	range 192.0.2.10 192.0.2.10;
	option routers 192.0.2.9;
	option rfc3442-routes 24, 198, 51, 100, 192, 0, 2, 7, 0, 192, 0, 2, 8;
	option domain-name-servers 192.0.2.1;
	option domain-search "example.org", "shop.example.org";
	option ntp-servers 192.0.2.3;
}
`

// What dnsmasq does one way, others do another: kea and ISC's dhcpd.
//
// compatible: Network | kea, ISC dhcpd (Debian 13) | give addresses, IPv4 and IPv6
func TestOtherServers(t *testing.T) {
	testlan.NeedDebian(t)
	v4 := func(l netup.Link) bool {
		return has("192.0.2.10/24")(l) && len(l.DNS) == 1 && slices.Equal(l.Domains, []string{"example.org", "shop.example.org"})
	}
	routes := []string{"default via 192.0.2.8 dev eth0", "198.51.100.0/24 via 192.0.2.7 dev eth0"}
	for _, row := range []struct {
		name, config string
		command      []string
		settings     plan.Net
		ok           func(netup.Link) bool
		routes       []string
	}{
		{"kea-dhcp4", kea4, []string{"kea-dhcp4", "-d", "-c", "/run/server.conf"}, plan.Net{}, v4, routes},
		{"dhcpd", dhcpd, []string{"dhcpd", "-f", "-d", "-cf", "/run/server.conf", "-lf", "/var/lib/dhcp/leases", "lan0"}, plan.Net{}, v4, routes},
		{
			"kea-dhcp6", kea6,
			[]string{"kea-dhcp6", "-d", "-c", "/run/server.conf"},
			plan.Net{IPs: []plan.IP{{Methods: []plan.Method{plan.DHCP6}}}},
			func(l netup.Link) bool {
				return global6(l) == netip.MustParsePrefix("2001:db8::100/64") && len(l.DNS) == 1 && slices.Equal(l.Domains, []string{"example.org"})
			}, nil,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			lan := testlan.NewDebian(t, true)
			lan.Connect("eth0", "lan0")
			lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
			lan.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "lan0", "nodad")
			lan.Run("ip", "link", "set", "lan0", "up")
			testlan.Run(t, "ip", "link", "set", "eth0", "up")
			awaitLinkLocal(t, lan)

			lan.Write("/run/server.conf", row.config)
			lan.Write("/var/lib/dhcp/leases", "")
			lan.Start(row.command[0], row.command[1:]...)
			updates := run(t, row.settings)
			l := waitFor(t, updates, row.ok)
			for _, want := range row.routes {
				if out := testlan.Run(t, "ip", "route"); !strings.Contains(out, want) {
					t.Errorf("routes are\n%swant %q; the link is %+v", out, want, l)
				}
			}
		})
	}
}

// The real root's network services go on with links that are kept, without
// taking an address away for a moment: also with a link that udev has renamed.
// For networkd, what the owner says of a link counts more than what we wrote.
//
// compatible: Network | systemd-networkd, NetworkManager (Debian 13) | go on with the links of the boot, without losing the address
func TestKeptByServices(t *testing.T) {
	testlan.NeedDebian(t, "dnsmasq")
	const owners = "192.0.2.30/24"
	for _, row := range []struct {
		name     string
		settings plan.Net
		address  string
		link     string // its name when the service starts
		owner    string // file of the owner, for owners
		start    func(root *testlan.Peer)
		kept     func(root *testlan.Peer, link string) bool
	}{
		{"networkd with a lease", plan.Net{}, "192.0.2.10/24", "eth0", "", networkd, networkdHasIt},
		{"networkd with a static address", static, "192.0.2.20/24", "eth0", "", networkd, networkdHasIt},
		{"networkd with a renamed link", plan.Net{}, "192.0.2.10/24", "enp1s0", "", networkd, networkdHasIt},
		{"networkd with a file of the owner", plan.Net{}, "192.0.2.10/24", "eth0", "/etc/systemd/network/lan.network", networkd, networkdHasIt},
		{"NetworkManager with a lease", plan.Net{}, "192.0.2.10/24", "eth0", "", networkManager, networkManagerHasIt},
		{"NetworkManager with a static address", static, "192.0.2.20/24", "eth0", "", networkManager, networkManagerHasIt},
		{"NetworkManager with a renamed link", plan.Net{}, "192.0.2.10/24", "enp1s0", "", networkManager, networkManagerHasIt},
	} {
		t.Run(row.name, func(t *testing.T) {
			lan := testlan.NewPeer(t)
			lan.Connect("eth0", "lan0")
			lan.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
			lan.Run("ip", "link", "set", "lan0", "up")
			dnsmasq(lan, "--dhcp-range=192.0.2.10,192.0.2.10,1h", "--dhcp-option=option:router,192.0.2.1")
			updates, stop := start(t, row.settings)
			l := waitFor(t, updates, has(row.address))
			stop()
			root := testlan.NewDebian(t, false)
			if err := netup.Keep(netup.Linux{}, root.File("/run"), row.settings, []netup.Link{l}); err != nil {
				t.Fatal(err)
			}

			want := row.address
			if row.owner != "" {
				want = owners
				text := "[Match]\nName=eth*\n[Network]\nAddress=" + owners + "\nGateway=192.0.2.1\n"
				root.Write(row.owner, text)
				t.Cleanup(func() { os.Remove(root.File(row.owner)) })
			}
			if row.link != "eth0" {
				testlan.Run(t, "ip", "link", "set", "eth0", "name", row.link)
				t.Cleanup(func() { exec.Command("ip", "link", "del", row.link).Run() })
			}
			lost := root.Watch("ip", "-4", "monitor", "address", "route")
			row.start(root)
			testlan.Await(t, "the service to own the link", func() bool { return row.kept(root, row.link) })
			if out := testlan.Run(t, "ip", "-4", "addr", "show", "dev", row.link); strings.Count(out, "inet ") != 1 || !strings.Contains(out, want) {
				t.Errorf("%s has\n%swant %s alone", row.link, out, want)
			}

			if out := testlan.Run(t, "ip", "route", "show", "default"); !strings.Contains(out, "via 192.0.2.1 dev "+row.link) {
				t.Errorf("default route %q, want one by 192.0.2.1", out)
			}
			for _, line := range strings.Split(lost(), "\n") {
				if row.owner == "" && strings.HasPrefix(line, "Deleted") && strings.Contains(line, "inet "+row.address) {
					t.Errorf("the address was away for a moment: %s", line)
				}
			}
		})
	}
}

var static = plan.Net{IPs: []plan.IP{{Link: "eth0", Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("192.0.2.20/24"), Gateway: netip.MustParseAddr("192.0.2.1")}}}

func networkd(root *testlan.Peer) { root.Start("/usr/lib/systemd/systemd-networkd") }

func networkdHasIt(root *testlan.Peer, _ string) bool {
	for _, line := range strings.Split(root.Run("sh", "-c", "cat /run/systemd/netif/links/* 2>/dev/null || true"), "\n") {
		if line == "ADMIN_STATE=configured" {
			return true
		}
	}
	return false
}

func networkManager(root *testlan.Peer) {
	root.Start("dbus-daemon", "--system", "--nofork", "--nopidfile")
	root.Start("sh", "-c", "until [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done; exec NetworkManager --no-daemon")
}

func networkManagerHasIt(root *testlan.Peer, link string) bool {
	out := root.Run("sh", "-c", "nmcli -t -f DEVICE,STATE,CONNECTION device 2>/dev/null || true")
	return slices.Contains(strings.Split(out, "\n"), link+":connected:latchkey-eth0")
}
