package plan

import (
	"net/netip"
	"slices"
)

// withoutIPv6 takes IPv6 out of the settings if the command line takes it out
// of the kernel (Documentation/networking/ipv6.rst), and says what that was.
// A link that has nothing else asks DHCP: with no address at all it reaches
// nobody.
func (p *Plan) withoutIPv6(args []Arg) (problems []Problem) {
	off := slices.IndexFunc(args, func(a Arg) bool {
		return a.Value == "1" && (a.Is("ipv6.disable") || a.Is("ipv6.disable_ipv6") || a.Is("sysctl.net.ipv6.conf.all.disable_ipv6"))
	})
	if off < 0 {
		return nil
	}

	say := func(reason string) { problems = append(problems, Problem{args[off], reason}) }
	p.Net.IPs = fourOnly(p.Net.IPs, say)
	if p.ImageNet != nil {
		p.ImageNet.IPs = fourOnly(p.ImageNet.IPs, func(string) {})
	}
	return problems
}

func fourOnly(lines []IP, say func(string)) []IP {
	lines = slices.Clone(lines)
	six := func(a netip.Addr) bool { return a.Is6() }
	for i := range lines {
		line := &lines[i]
		static := line.Address.IsValid() && six(line.Address.Addr())
		methods := slices.DeleteFunc(slices.Clone(line.Methods), func(m Method) bool {
			return slices.Contains([]Method{DHCP6, Auto6, Either6, Link6}, m) || m == Static && static
		})
		if len(methods) == len(line.Methods) {
			continue
		}

		was := line.String()
		line.Methods = methods
		if static {
			line.Address, line.Gateway, line.Peer = netip.Prefix{}, netip.Addr{}, netip.Addr{}
		}
		line.DNS = slices.DeleteFunc(slices.Clone(line.DNS), six)
		if !slices.ContainsFunc(methods, func(m Method) bool { return m != Off6 }) {
			line.Methods = append(methods, DHCP)
		}
		say("the kernel has no IPv6: \"" + was + "\" cannot work; read as \"" + line.String() + "\"")
	}
	return lines
}
