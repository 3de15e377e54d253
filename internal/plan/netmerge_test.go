package plan_test

import (
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
)

func TestMergeNet(t *testing.T) {
	file, _ := parseNet(t, "ip=eth0:dhcp vlan=vlan5:eth0 nameserver=192.0.2.53 rd.net.timeout.dhcp=7 rd.neednet=1")
	for _, row := range []struct{ name, cmdline, want string }{
		{"nothing", "quiet", "vlan5 is VLAN 5 on eth0, eth0 dhcp, DNS 192.0.2.53"},
		{"links replace links", "ip=eth1:auto6", "eth1 auto6, DNS 192.0.2.53"},
		{"servers replace servers", "nameserver=192.0.2.54", "vlan5 is VLAN 5 on eth0, eth0 dhcp, DNS 192.0.2.54"},
		{"nothing is switched off", "rd.neednet=0", "vlan5 is VLAN 5 on eth0, eth0 dhcp, DNS 192.0.2.53"},
	} {
		cmdline, _ := parseNet(t, row.cmdline)
		merged := plan.MergeNet(file, cmdline)
		if got := merged.String(); got != row.want {
			t.Errorf("%s: MergeNet() = %q, want %q", row.name, got, row.want)
		}
		if merged.Timeouts.DHCP != 7*time.Second {
			t.Errorf("%s: the plan's timeout is lost", row.name)
		}
	}
}

func TestNetWords(t *testing.T) {
	for _, row := range []struct{ line, want string }{
		{"quiet", "dhcp and router advertisements on every link"},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0:node:eth0:none nameserver=192.0.2.1", "eth0 192.0.2.5/24 gateway 192.0.2.1 host node, DNS 192.0.2.1"},
		{"ip=eth0:dhcp:1400:52:54:00:12:34:56", "eth0 dhcp MTU 1400 MAC 52:54:00:12:34:56"},
		{"bond=bond0:eth0,eth1:mode=1 bridge=br0:eth2 ip=bond0:dhcp", "bond0 bonds eth0+eth1 mode=active-backup, br0 bridges eth2, bond0 dhcp"},
		{
			"ip=off rd.route=198.51.100.0/24:192.0.2.1:eth0 rd.peerdns=0 rd.latchkey.keepnet bootdev=eth0 ifname=a:52:54:00:12:34:56 BOOTIF=01-52-54-00-12-34-57",
			"every link off, 52:54:00:12:34:56 is called a, default route through eth0, booted from 52:54:00:12:34:57, route 198.51.100.0/24 via 192.0.2.1 on eth0, no DNS from DHCP, kept for the real root",
		},
	} {
		n, _ := parseNet(t, row.line)
		if got := n.String(); got != row.want {
			t.Errorf("ParseNet(%q) = %q, want %q", row.line, got, row.want)
		}
	}
}

// FuzzParseNet: no line panics, whatever is taken passes Check, and each
// option that is not is named.
func FuzzParseNet(f *testing.F) {
	for _, line := range []string{
		"ip=eth0:dhcp:1400:52:54:00:12:34:56", "ip=192.0.2.5:192.0.2.2:192.0.2.1:255.255.255.0:node:eth0:none:192.0.2.53",
		"ip=[2001:db8::5]/64::[2001:db8::1]:::eth0:none:[2001:db8::53]", "bond=bond0:eth0,eth1:mode=1,arp_ip_target=192.0.2.1;192.0.2.2:1400",
		"vlan=eth0.5:eth0 bridge=br0:eth0 ifname=a:52:54:00:12:34:56 BOOTIF=01-52-54-00-12-34-56 rd.route=198.51.100.0/24:192.0.2.1:eth0",
		"rd.net.timeout.dhcp=1 rd.neednet=0 nameserver=2001:db8::1 rd.peerdns=0 team=a ip=ibft",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args, err := plan.SplitCmdline(line)
		if err != nil {
			return
		}

		n, problems := plan.ParseNet(args)
		if err := n.Check(); err != nil {
			t.Errorf("ParseNet(%q) = %v, which Check refuses: %v", line, n, err)
		}
		for _, p := range problems {
			if p.Reason == "" || strings.ContainsAny(p.Reason, "\n\x00") {
				t.Errorf("ParseNet(%q): problem %q is not one line", line, p.Reason)
			}
		}

		if strings.ContainsAny(n.String(), "\n\x00") {
			t.Errorf("ParseNet(%q).String() = %q, want one line", line, n)
		}
	})
}

func TestNetModules(t *testing.T) {
	n, _ := parseNet(t, "bond vlan=vlan5:eth0 bridge=br0:eth1")
	if got := strings.Join(n.Modules(), " "); got != "af_packet ipv6 bonding 8021q bridge" {
		t.Errorf("Modules() = %q, want those of sockets and of each layer", got)
	}
	if n, _ := parseNet(t, "ip=dhcp"); len(n.Modules()) != 2 {
		t.Errorf("Modules() = %q for ip=dhcp, want those of sockets", n.Modules())
	}
}
