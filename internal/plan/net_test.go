package plan_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/plan"
)

var cmpAddr = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func parseNet(t testing.TB, line string) (plan.Net, []plan.Problem) {
	t.Helper()
	args, err := plan.SplitCmdline(line)
	if err != nil {
		t.Fatal(err)
	}
	return plan.ParseNet(args)
}

// static is the line of most examples.
func static(link string) plan.IP {
	return plan.IP{
		Link: link, Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("192.0.2.5/24"),
		Gateway: netip.MustParseAddr("192.0.2.1"),
	}
}

func with(line plan.IP, change func(*plan.IP)) plan.Net {
	change(&line)
	return plan.Net{IPs: []plan.IP{line}}
}

func method(link string, m ...plan.Method) plan.Net {
	return plan.Net{IPs: []plan.IP{{Link: link, Methods: m}}}
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// One row for each form that dracut.cmdline(7), the kernel's nfsroot.rst
// and initramfs-tools(7) document.
func TestParseNet(t *testing.T) {
	none := func(*plan.IP) {}
	for _, row := range []struct {
		line string
		want plan.Net
	}{
		{"quiet root=/dev/sda1 console=ttyS0", plan.Net{}},
		{"ip=dhcp", method("", plan.DHCP)},
		{"ip=on", method("", plan.DHCP)},
		{"ip=any", method("", plan.DHCP)},
		{"ip=single-dhcp", method("", plan.DHCP)},
		{"ip=dhcp6", method("", plan.DHCP6)},
		{"ip=auto6", method("", plan.Auto6)},
		{"ip=either6", method("", plan.Either6)},
		{"ip=link6", method("", plan.Link6)},
		{"ip=dhcp,dhcp6", method("", plan.DHCP, plan.DHCP6)},
		{"ip=off", method("", plan.Off)},
		{"ip=none", method("", plan.Off)},
		{"ip=eth0:dhcp", method("eth0", plan.DHCP)},
		{"ip=eth0:on", method("eth0", plan.DHCP)},
		{"ip=eth0:link6", method("eth0", plan.Link6)},
		{"ip=eth0:dhcp:1400", with(plan.IP{Link: "eth0", Methods: []plan.Method{plan.DHCP}}, func(l *plan.IP) { l.MTU = 1400 })},
		{"ip=eth0:dhcp:1400:52:54:00:AA:bb:cc", with(plan.IP{Link: "eth0", Methods: []plan.Method{plan.DHCP}}, func(l *plan.IP) { l.MTU, l.MAC = 1400, "52:54:00:aa:bb:cc" })},
		{"ip=eth0:auto6::52:54:00:aa:bb:cc", with(plan.IP{Link: "eth0", Methods: []plan.Method{plan.Auto6}}, func(l *plan.IP) { l.MAC = "52:54:00:aa:bb:cc" })},
		{"ip=eth0:dhcp::52-54-00-aa-bb-cc", with(plan.IP{Link: "eth0", Methods: []plan.Method{plan.DHCP}}, func(l *plan.IP) { l.MAC = "52:54:00:aa:bb:cc" })},
		{"ip=eth0:dhcp ip=eth1:dhcp6 bootdev=eth1", plan.Net{IPs: []plan.IP{{Link: "eth0", Methods: []plan.Method{plan.DHCP}}, {Link: "eth1", Methods: []plan.Method{plan.DHCP6}}}, BootDev: "eth1"}},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none", with(static("eth0"), none)},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:off", with(static("eth0"), none)},
		{"ip=192.0.2.5::192.0.2.1:24::eth0:none", with(static("eth0"), none)},
		{"ip=192.0.2.5/24::192.0.2.1:::eth0:none", with(static("eth0"), none)},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0", with(static("eth0"), none)},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0", with(static(""), none)},
		{"ip=192.0.2.5", with(plan.IP{Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("192.0.2.5/24")}, none)},
		{"ip=10.0.0.5", with(plan.IP{Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("10.0.0.5/8")}, none)},
		{"ip=172.16.0.5::::::", with(plan.IP{Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("172.16.0.5/16")}, none)},
		// faults/field.md P4: the second field is the server, but where the mask says that there is another end.
		{"ip=192.0.2.5:198.51.100.1:192.0.2.1:255.255.255.0:node:eth0:none", with(static("eth0"), func(l *plan.IP) { l.Hostname = "node" })},
		{"ip=192.0.2.5:198.51.100.1::255.255.255.255::eth0:none", with(static("eth0"), func(l *plan.IP) {
			l.Address, l.Gateway, l.Peer = netip.MustParsePrefix("192.0.2.5/32"), netip.Addr{}, netip.MustParseAddr("198.51.100.1")
		})},
		{"ip=192.0.2.5:192.0.2.6/30:192.0.2.1:::eth0:none", with(static("eth0"), func(l *plan.IP) {
			l.Address, l.Peer = netip.MustParsePrefix("192.0.2.5/30"), netip.MustParseAddr("192.0.2.6")
		})},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none:1400:52:54:00:aa:bb:cc", with(static("eth0"), func(l *plan.IP) { l.MTU, l.MAC = 1400, "52:54:00:aa:bb:cc" })},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none::52:54:00:aa:bb:cc", with(static("eth0"), func(l *plan.IP) { l.MAC = "52:54:00:aa:bb:cc" })},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none:192.0.2.53", with(static("eth0"), func(l *plan.IP) { l.DNS = addrs("192.0.2.53") })},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none:192.0.2.53:192.0.2.54", with(static("eth0"), func(l *plan.IP) { l.DNS = addrs("192.0.2.53", "192.0.2.54") })},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0::eth0:none::192.0.2.54", with(static("eth0"), func(l *plan.IP) { l.DNS = addrs("192.0.2.54") })},
		{"ip=[2001:db8::5]::[2001:db8::1]:64:node:eth0:none", with(plan.IP{}, func(l *plan.IP) {
			*l = plan.IP{Link: "eth0", Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("2001:db8::5/64"), Gateway: netip.MustParseAddr("2001:db8::1"), Hostname: "node"}
		})},
		{"ip=[2001:db8::5]/64::[2001:db8::1]:::eth0:none:[2001:db8::53]", with(plan.IP{}, func(l *plan.IP) {
			*l = plan.IP{Link: "eth0", Methods: []plan.Method{plan.Static}, Address: netip.MustParsePrefix("2001:db8::5/64"), Gateway: netip.MustParseAddr("2001:db8::1"), DNS: addrs("2001:db8::53")}
		})},
		{"ip=:::::eth0:dhcp", method("eth0", plan.DHCP)},
		{"ip=::::node:eth0:dhcp", with(plan.IP{Link: "eth0", Methods: []plan.Method{plan.DHCP}}, func(l *plan.IP) { l.Hostname = "node" })},
		{"ip=::::node::dhcp", with(plan.IP{Methods: []plan.Method{plan.DHCP}}, func(l *plan.IP) { l.Hostname = "node" })},
		{"ip=:::::eth0", method("eth0", plan.DHCP)},
		{"ip=:::::eth0:off", method("eth0", plan.Off)},
		{"ip6=auto6", method("", plan.DHCP, plan.Auto6)},
		{"ifname=lan0:52:54:00:AA:bb:cc", plan.Net{Names: []plan.LinkName{{Name: "lan0", MAC: "52:54:00:aa:bb:cc"}}}},
		{"BOOTIF=01-52-54-00-aa-bb-cc", plan.Net{BootMAC: "52:54:00:aa:bb:cc"}},
		{"BOOTIF=52:54:00:aa:bb:cc", plan.Net{BootMAC: "52:54:00:aa:bb:cc"}},
		{"BOOTIF=01-52-54-00-aa-bb-cc rd.bootif=0", plan.Net{}},
		{"nameserver=192.0.2.53 nameserver=2001:db8::53 nameserver=[2001:db8::54]", plan.Net{Nameservers: addrs("192.0.2.53", "2001:db8::53", "2001:db8::54")}},
		{"rd.peerdns=0", plan.Net{NoPeerDNS: true}},
		{"rd.peerdns=0 rd.peerdns=1", plan.Net{}},
		{"rd.route=198.51.100.0/24:192.0.2.1", plan.Net{Routes: []plan.Route{{To: netip.MustParsePrefix("198.51.100.0/24"), Via: netip.MustParseAddr("192.0.2.1")}}}},
		{"rd.route=198.51.100.7/24:192.0.2.1:eth0", plan.Net{Routes: []plan.Route{{To: netip.MustParsePrefix("198.51.100.0/24"), Via: netip.MustParseAddr("192.0.2.1"), Link: "eth0"}}}},
		{"rd.route=198.51.100.0/24::eth0", plan.Net{Routes: []plan.Route{{To: netip.MustParsePrefix("198.51.100.0/24"), Link: "eth0"}}}},
		{"rd.route=[2001:db8:1::/48]:[2001:db8::1]", plan.Net{Routes: []plan.Route{{To: netip.MustParsePrefix("2001:db8:1::/48"), Via: netip.MustParseAddr("2001:db8::1")}}}},
		{"vlan=vlan0005:eth0", plan.Net{VLANs: []plan.VLAN{{Name: "vlan0005", On: "eth0", ID: 5}}}},
		{"vlan=vlan5:eth0", plan.Net{VLANs: []plan.VLAN{{Name: "vlan5", On: "eth0", ID: 5}}}},
		{"vlan=eth0.0005:eth0", plan.Net{VLANs: []plan.VLAN{{Name: "eth0.0005", On: "eth0", ID: 5}}}},
		{"vlan=eth0.5:eth0 vlan=eth0.6:eth0", plan.Net{VLANs: []plan.VLAN{{Name: "eth0.5", On: "eth0", ID: 5}, {Name: "eth0.6", On: "eth0", ID: 6}}}},
		{"vlan=lan.5:eth0", plan.Net{VLANs: []plan.VLAN{{Name: "lan.5", On: "eth0", ID: 5}}}},
		{"bond", plan.Net{Bonds: []plan.Bond{{Name: "bond0", Ports: []string{"eth0", "eth1"}, Options: []plan.BondOption{{Name: "mode", Value: "balance-rr"}}}}}},
		{"bond=bond1", plan.Net{Bonds: []plan.Bond{{Name: "bond1", Ports: []string{"eth0", "eth1"}, Options: []plan.BondOption{{Name: "mode", Value: "balance-rr"}}}}}},
		{"bond=bond0:eth2,eth3", plan.Net{Bonds: []plan.Bond{{Name: "bond0", Ports: []string{"eth2", "eth3"}, Options: []plan.BondOption{{Name: "mode", Value: "balance-rr"}}}}}},
		{"bond=bond0:eth0,eth1:mode=1,miimon=100,primary=eth1:1400", plan.Net{Bonds: []plan.Bond{{
			Name: "bond0", Ports: []string{"eth0", "eth1"}, MTU: 1400,
			Options: []plan.BondOption{{Name: "mode", Value: "active-backup"}, {Name: "miimon", Value: "100"}, {Name: "primary", Value: "eth1"}},
		}}}},
		{"bond=bond0:eth0:mode=802.3ad,lacp_rate=1,xmit_hash_policy=layer3+4,arp_ip_target=192.0.2.1;192.0.2.2", plan.Net{Bonds: []plan.Bond{{
			Name: "bond0", Ports: []string{"eth0"},
			Options: []plan.BondOption{{Name: "mode", Value: "802.3ad"}, {Name: "lacp_rate", Value: "fast"}, {Name: "xmit_hash_policy", Value: "layer3+4"}, {Name: "arp_ip_target", Value: "192.0.2.1;192.0.2.2"}},
		}}}},
		{"bridge", plan.Net{Bridges: []plan.Bridge{{Name: "br0", Ports: []string{"eth0"}}}}},
		{"bridge=br1:eth0,eth1", plan.Net{Bridges: []plan.Bridge{{Name: "br1", Ports: []string{"eth0", "eth1"}}}}},
		{
			"rd.net.timeout.dhcp=7 rd.net.timeout.iflink=1 rd.net.timeout.ifup=2 rd.net.timeout.ipv6auto=5 rd.net.timeout.carrier=6",
			plan.Net{Timeouts: plan.NetTimeouts{DHCP: 7 * time.Second, IfLink: time.Second, IfUp: 2 * time.Second, IPv6Auto: 5 * time.Second, Carrier: 6 * time.Second}},
		},
		{"rd.neednet", plan.Net{}},
		{"rd.neednet=1 rd.neednet=0", plan.Net{}}, // faults/network.md section 4: as dracut, which forces nothing off
		{"rd.latchkey.keepnet=1", plan.Net{Keep: true}},
		{"rd.net.dhcp-retry=1 rd_neednet", plan.Net{}}, // problems or not ours: see below
	} {
		t.Run(row.line, func(t *testing.T) {
			got, problems := parseNet(t, row.line)
			if diff := cmp.Diff(row.want, got, cmpAddr); diff != "" {
				t.Errorf("ParseNet(%q) (-want +got):\n%s", row.line, diff)
			}
			if len(problems) > 0 && row.want.String() != (plan.Net{}).String() {
				t.Errorf("ParseNet(%q) problems = %v, want none", row.line, problems)
			}

			// The plan file holds the same settings.
			file, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}

			var back plan.Net
			dec := json.NewDecoder(strings.NewReader(string(file)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&back); err != nil {
				t.Fatalf("decoding %s: %v", file, err)
			}

			if diff := cmp.Diff(got, back, cmpAddr); diff != "" {
				t.Errorf("through JSON (-want +got):\n%s", diff)
			}
			if err := got.Check(); err != nil {
				t.Errorf("Check() = %v, want nil", err)
			}
		})
	}
}

// One row for each mistake: it is named, and the good option beside it
// stands.
func TestParseNetMistakes(t *testing.T) {
	for _, row := range []struct{ line, says string }{
		{"ip=", "empty"},
		{"ip", "empty"},
		{"ip=bootp", "not supported"},
		{"ip=both", "not supported"},
		{"ip=ibft", "iBFT is not read"},
		{"ip=dchp", "neither a method nor an address"},
		{"ip=eth0:dchp", `"dchp" is not a method of link eth0`},
		{"ip=eth0:dhcp:9", "MTU"},
		{"ip=eth0:dhcp:70000", "MTU"},
		{"ip=eth0:dhcp:1500:52:54:00", "hardware address"},
		{"ip=an-interface-name-too-long:dhcp", "name of a network link"},
		{"ip=eth/0:dhcp", "name of a network link"},
		{"ip=lo:dhcp", "name of a network link"},
		{"ip=192.0.2.5::192.0.2.1:255.255.0.255::eth0:none", "mask"},
		{"ip=192.0.2.5::192.0.2.1:33::eth0:none", "mask"},
		{"ip=192.0.2.5::192.0.2.1:0::eth0:none", "mask"},
		{"ip=192.0.2.5/24::192.0.2.1:25::eth0:none", "two masks"},
		{"ip=192.0.2.256::192.0.2.1:24::eth0:none", "client"},
		{"ip=224.0.0.1::192.0.2.1:24::eth0:none", "client"},
		{"ip=192.0.2.5::192.0.2.5:24::eth0:none", "this machine and the gateway"},
		{"ip=192.0.2.5::[2001:db8::1]:24::eth0:none", "different IP versions"},
		{"ip=192.0.2.5::192.0.2.1:24:ho_st!:eth0:none", "host name"},
		{"ip=[2001:db8::5]::[2001:db8::1]:255.255.255.0::eth0:none", "mask"},
		{"ip=[2001:db8::5::[2001:db8::1]:64::eth0:none", "not the address"},
		{"ip=[2001:db8::5", "without ]"},
		{"ip=[2001:db8::5]x", "not the address"},
		{"ip=192.0.2.5::192.0.2.1:24::eth0:none:192.0.2.53:192.0.2.54:192.0.2.55:192.0.2.56", "nothing may follow"},
		{"ip=192.0.2.5::192.0.2.1:24::eth0:none:0.0.0.0", "server"},
		{"ifname=lan0", "hardware address"},
		{"ifname=lan0:52:54:00:aa:bb:cc ifname=lan1:52:54:00:aa:bb:cc", "twice"},
		{"ifname=:52:54:00:aa:bb:cc", "name of a network link"},
		{"BOOTIF=02-52-54-00-aa-bb-cc", "hardware type"},
		{"BOOTIF=x", "hardware address"},
		{"bootdev=", "name of a network link"},
		{"nameserver=x", "name server"},
		{"nameserver=0.0.0.0", "name server"},
		{"nameserver=192.0.2.1 nameserver=192.0.2.2 nameserver=192.0.2.3 nameserver=192.0.2.4 nameserver=192.0.2.5 nameserver=192.0.2.6 nameserver=192.0.2.7 nameserver=192.0.2.8 nameserver=192.0.2.9", "more than"},
		{"rd.peerdns=maybe", "neither 1 nor 0"},
		{"rd.neednet=2", "neither 1 nor 0"},
		{"rd.net.dhcp.retry=3", "has no effect"},
		{"rd.net.timeout.route=3", "has no effect"},
		{"rd.net.timeout.ipv6dad=4", "has no effect"},
		{"rd.route=198.51.100.0/24", "neither gateway nor link"},
		{"rd.route=198.51.100.0/24:", "neither gateway nor link"},
		{"rd.route=198.51.100:192.0.2.1", "network"},
		{"rd.route=198.51.100.0/24:[2001:db8::1]", "different IP versions"},
		{"vlan=vlan5", "<name>:<link>"},
		{"vlan=vlan0:eth0", "VLAN number"},
		{"vlan=vlan4095:eth0", "VLAN number"},
		{"vlan=vlan00005:eth0", "VLAN number"},
		{"vlan=lan:eth0", "VLAN number"},
		{"vlan=eth0.5:eth0 vlan=eth0.5:eth1", "made twice"},
		{"bond=bond0:eth0,eth0", "twice"},
		{"bond=bond0:bond0", "twice or itself"},
		{"bond=bond0:eth0:mode=fast", "want one of"},
		{"bond=bond0:eth0:color=red", "not an option of a bond"},
		{"bond=bond0:eth0:miimon=x", "number"},
		{"bond=bond0:eth0:mode=1,mode=2", "given twice"},
		{"bond=bond0:eth0:arp_ip_target=2001", "IPv4 address"},
		{"bond=bond0:eth0:mode=1:1400:x", "nothing may follow"},
		{"bond=bond0:eth0:mode=1:5", "MTU"},
		{"bridge=br0", "no links under it"},
		{"bridge=br0:eth0 bond=br0", "made twice"},
		{"team=team0:eth0,eth1", "teamd"},
		{"rd.net.timeout.dhcp=0", "number"},
		{"rd.net.timeout.dhcp=x", "seconds"},
		{"rd.net.timeout.coffee=1", "not an option"},
	} {
		t.Run(row.line, func(t *testing.T) {
			got, problems := parseNet(t, row.line+" ip=lan7:dhcp")
			named := slices.ContainsFunc(problems, func(p plan.Problem) bool { return strings.Contains(p.String(), row.says) })
			if !named || slices.ContainsFunc(problems, func(p plan.Problem) bool { return strings.Contains(p.String(), "\n") }) {
				t.Errorf("ParseNet(%q) problems = %v, want lines, and one with %q", row.line, problems, row.says)
			}
			if n := len(got.IPs); n == 0 || got.IPs[n-1].Link != "lan7" {
				t.Errorf("ParseNet(%q) = %v, want the good option to stand", row.line, got)
			}
		})
	}
}
