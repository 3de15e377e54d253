package plan_test

import (
	"testing"

	"latchkey/boot/plan"
)

func TestNetWords(t *testing.T) {
	for _, row := range []struct{ line, want string }{
		{"quiet", "dhcp and router advertisements on every link"},
		{"ip=dhcp", "every link dhcp"},
		{"ip=192.0.2.5::192.0.2.1:255.255.255.0:node:eth0:none nameserver=192.0.2.1", "eth0 192.0.2.5/24 gateway 192.0.2.1 host node, DNS 192.0.2.1"},
		{"ip=eth0:dhcp:1400:52:54:00:12:34:56", "eth0 dhcp MTU 1400 MAC 52:54:00:12:34:56"},
		{"ip=[2001:db8::5]::[2001:db8::1]:64::eth0:off", "eth0 2001:db8::5/64 gateway 2001:db8::1"},
		{"rd.neednet=0", "off (rd.neednet=0)"},
	} {
		args, err := plan.SplitCmdline(row.line)
		if err != nil {
			t.Fatal(err)
		}
		n, problems := plan.ParseNet(args)
		if len(problems) > 0 {
			t.Errorf("ParseNet(%q) problems = %v, want none", row.line, problems)
		}
		if got := n.String(); got != row.want {
			t.Errorf("ParseNet(%q) = %q, want %q", row.line, got, row.want)
		}
	}
}
