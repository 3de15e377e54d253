package plan_test

import (
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// What an operator may write that contradicts itself: each is named, and read
// in the way that lets the machine boot. says is "" where nothing is wrong.
func TestContradictions(t *testing.T) {
	const all = "dhcp and router advertisements on every link"
	for _, row := range []struct{ line, want, says string }{
		// A port has no addresses of its own.
		{"bond=bond0:eth0,eth1:mode=1 ip=eth0:dhcp", "bond0 bonds eth0+eth1 mode=active-backup, bond0 dhcp", "eth0 is a port of bond0 and has no address of its own; used for bond0"},
		{"bridge=br0:eth0 ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none", "br0 bridges eth0, br0 192.0.2.5/24 gateway 192.0.2.1", "used for br0"},
		{"bond=bond0:eth0:mode=1 bridge=br0:bond0 ip=eth0:dhcp", "bond0 bonds eth0 mode=active-backup, br0 bridges bond0, br0 dhcp", "eth0 is a port of br0"},
		{"bond=bond0:eth0:mode=1 bridge=br0:bond0 ip=bond0:dhcp", "bond0 bonds eth0 mode=active-backup, br0 bridges bond0, br0 dhcp", "bond0 is a port of br0"},
		{"bridge=br0:eth0 ip=eth0:dhcp ip=br0:dhcp", "br0 bridges eth0, br0 dhcp", "not used, because br0 has an ip= as well"},
		{"bridge=br0:eth0 ip=br0:dhcp ip=eth0:dhcp", "br0 bridges eth0, br0 dhcp", "not used, because br0 has an ip= as well"},
		{"bridge=br0:eth0,eth1 ip=eth0:off ip=eth1:off", "br0 bridges eth0+eth1, " + all, ""},
		{"bridge=br0:eth0 bootdev=eth0 rd.route=198.51.100.0/24::eth0", "br0 bridges eth0, " + all + ", default route through br0, route 198.51.100.0/24 on br0", "used for br0"},
		{"bridge=br0:eth0 ip6=eth0:auto6", "br0 bridges eth0, br0 dhcp+auto6", "used for br0"},

		// A port has one master.
		{"bond=bond0:eth0,eth1:mode=1 bridge=br0:eth0 ip=br0:dhcp", "bond0 bonds eth0+eth1 mode=active-backup, br0 bridges bond0, br0 dhcp", "eth0 is a port of bond bond0 already; br0 bridges bond0 in its place"},
		{"bond=bond0:eth0,eth1:mode=1 bridge=br0:eth0,eth1", "bond0 bonds eth0+eth1 mode=active-backup, br0 bridges bond0, " + all, "in its place"},
		{"bond=bond0:eth0:mode=1 bond=bond1:eth0,eth1:mode=1", "bond0 bonds eth0 mode=active-backup, bond1 bonds eth1 mode=active-backup, " + all, "bond1 does without it"},
		{"bridge=br0:eth0 bridge=br1:eth0,eth1", "br0 bridges eth0, br1 bridges eth1, " + all, "br1 does without it"},

		// Nothing stands on itself.
		{"vlan=a5:b6 vlan=b6:a5 ip=b6:dhcp", all, "would stand on itself"},
		{"bridge=br0:eth0,br0.5 vlan=br0.5:br0", "br0 bridges eth0+br0.5, " + all, "the VLAN is not made"},
		{"bond=bond0:br0:mode=1 bridge=br0:bond0,eth0 ip=br0:dhcp", "br0 bridges eth0, br0 dhcp", "bond bond0 has no links left and is not made"},
		{"bond=bond0:eth0:mode=1 bond=bond1:eth0:mode=1 ip=bond1:dhcp", "bond0 bonds eth0 mode=active-backup, every link dhcp", "there will be no link bond1"},

		// A link that the refused option would have made never comes.
		{"vlan=voice:eth0 ip=voice:dhcp", all, "there will be no link voice"},
		{"vlan=voice:eth0 ip=voice:dhcp ip=eth1:dhcp", "eth1 dhcp", "there will be no link voice"},
		{"team=team0:eth0,eth1 ip=192.0.2.5::192.0.2.1:255.255.255.0::team0:none", "every link 192.0.2.5/24 gateway 192.0.2.1", "the line counts for every link"},
		{"bridge=br0: ip=br0:dhcp", "br0 bridges nothing, every link dhcp", "there will be no link br0"},
		{"vlan=voice:eth0 bootdev=voice", all, "there will be no link voice"},
		{"vlan=voice:eth0 ip=voice:dhcp ifname=voice:02:00:00:00:00:01", "voice dhcp, 02:00:00:00:00:01 is called voice", "ends in no VLAN number"},

		// What people met with other tools (faults/field.md P2, P3, P5; faults/network.md H2).
		{"vlan=eth0.100:eth0 ip=192.0.2.2::192.0.2.1:255.255.255.0::eth0.100:::::", "eth0.100 is VLAN 100 on eth0, eth0.100 192.0.2.2/24 gateway 192.0.2.1", ""},
		{"ip=[2001:db8::a]:[2001:db8::b]:[fe80::1]::node1:eth1::[2001:db8::53]", "eth1 2001:db8::a/128 gateway fe80::1 DNS 2001:db8::53 host node1", ""},
		{"ip=enp6s0f0:static", "enp6s0f0 dhcp", "static"},
		{"ip=eth0:auto", "eth0 dhcp", ""},
		{"ip=dhcp ip6=off", "every link dhcp+no IPv6", ""},

		// Words in each other's place.
		{"ip=dhcp:eth0", "eth0 dhcp", "read as ip=eth0:dhcp"},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::none:eth0", "eth0 192.0.2.5/24 gateway 192.0.2.1", "the link comes before the method"},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0:node:none", "every link 192.0.2.5/24 gateway 192.0.2.1 host node", "is taken for the method"},
		{"vlan=eth1:eth1.5", "eth1.5 is VLAN 5 on eth1, " + all, "read as vlan=eth1.5:eth1"},
		{"rd.route=198.51.100.0:255.255.255.0:192.0.2.1", all + ", route 198.51.100.0/24 via 192.0.2.1", "the mask stands after a slash"},
		{"rd.route=198.51.100.0:24:192.0.2.1:eth0", all + ", route 198.51.100.0/24 via 192.0.2.1 on eth0", "the mask stands after a slash"},
		{"rd.route=198.51.100.0/24:192.0.2.1:192.0.2.2", all + ", route 198.51.100.0/24 via 192.0.2.1", "is no link"},
		{"bond=bond0:eth0:mode=4;lacp_rate=1", "bond0 bonds eth0 mode=802.3ad lacp_rate=fast, " + all, "read as mode=4,lacp_rate=1"},
		{"bond=bond0:eth0:mode=1,arp_ip_target=192.0.2.1;192.0.2.2,arp_interval=100", "bond0 bonds eth0 mode=active-backup arp_ip_target=192.0.2.1;192.0.2.2 arp_interval=100, " + all, ""},
		{"bond=bond0:eth0:mode=lacp", "bond0 bonds eth0 mode=active-backup, " + all, "active-backup is used, which works with any switch"},

		// Addresses that no host has, or that reach nobody.
		{"ip=192.0.2.255::192.0.2.1:255.255.255.0::eth0:none", "eth0 dhcp", "is the broadcast address"},
		{"ip=192.0.2.0::192.0.2.1:24::eth0:none", "eth0 dhcp", "is the address of the network itself"},
		{"ip=192.0.2.0:192.0.2.1::31::eth0:none", "eth0 192.0.2.0/31 peer 192.0.2.1", ""},
		{"ip=192.0.2.5::192.0.2.255:24::eth0:none", "eth0 192.0.2.5/24", "no router's"},
		{"ip=192.0.2.5::192.0.3.1:24::eth0:none", "eth0 192.0.2.5/24 gateway 192.0.3.1", "gateway 192.0.3.1 is outside of 192.0.2.0/24; used all the same"},
		{"ip=192.0.2.5::192.0.3.1:32::eth0:none", "eth0 192.0.2.5/32 gateway 192.0.3.1", ""},
	} {
		t.Run(row.line, func(t *testing.T) {
			net, problems := parseNet(t, row.line)
			if got := net.String(); got != row.want {
				t.Errorf("read as %q, want %q", got, row.want)
			}
			var text []string
			for _, p := range problems {
				text = append(text, p.String())
			}
			if said := strings.Join(text, "\n"); row.says == "" && said != "" || !strings.Contains(said, row.says) {
				t.Errorf("problems are\n%s\nwant %q", said, row.says)
			}
			if err := net.Check(); err != nil {
				t.Errorf("Check() = %v, want nil: the rest could not be used", err)
			}
		})
	}
}

// The kernel has no IPv6: what the command line and the image say of it
// cannot work, and the machine asks DHCP.
func TestNoIPv6(t *testing.T) {
	for _, row := range []struct{ image, line, want, says string }{
		{"", "ipv6.disable=1 ip=dhcp6", "every link dhcp", `"every link dhcp6" cannot work; read as "every link dhcp"`},
		{"", "ip=eth0:either6 ipv6.disable_ipv6=1", "eth0 dhcp", "the kernel has no IPv6"},
		{"", "ipv6.disable=1 ip=[2001:db8::5]::[2001:db8::1]:64::eth0:none", "eth0 dhcp", "the kernel has no IPv6"},
		{"", "ipv6.disable=1 ip=dhcp,dhcp6", "every link dhcp", "the kernel has no IPv6"},
		{"", "ipv6.disable=1 ip=dhcp", "every link dhcp", ""},
		{"", "ipv6.disable=0 ip=dhcp6", "every link dhcp6", ""},
		{"ip=eth0:auto6", "sysctl.net.ipv6.conf.all.disable_ipv6=1", "eth0 dhcp", "the kernel has no IPv6"},
		{"ip=eth0:auto6", "ipv6.disable=1 ip=eth1:link6", "eth1 dhcp", "the kernel has no IPv6"},
	} {
		p, text := hinted(t, func() *plan.Plan { p := two(); p.Net, _ = parseNet(t, row.image); return p }(), row.line)
		if got := p.Net.String(); got != row.want {
			t.Errorf("%s: read as %q, want %q", row.line, got, row.want)
		}
		if !strings.Contains(text, row.says) || row.says == "" && text != "" {
			t.Errorf("%s: problems %q, want %q", row.line, text, row.says)
		}
		if p.ImageNet != nil && strings.Contains(p.ImageNet.String(), "auto6") {
			t.Errorf("%s: in the image's turn the network is %q, want no IPv6", row.line, p.ImageNet)
		}
	}
}
