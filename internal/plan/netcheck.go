package plan

import (
	"fmt"
	"net/netip"
	"strings"
)

// Check tells what is wrong with settings that were not made by ParseNet:
// those of a plan file. It is strict by asking ParseNet: settings are good
// if the options that say the same are.
func (n Net) Check() error {
	options := n.options()
	args := make([]Arg, len(options))
	for i, o := range options {
		key, value, _ := strings.Cut(o, "=")
		args[i] = Arg{Key: key, Value: value, HasValue: true, Pos: i}
	}

	if _, problems := ParseNet(args); len(problems) > 0 {
		return fmt.Errorf("network: %s: %s", problems[0].Arg, problems[0].Reason)
	}

	for _, v := range n.VLANs { // the plan may give a number that is not in the name
		if !isLinkName(v.Name) || !isLinkName(v.On) || v.Name == v.On || v.ID < 1 || v.ID > 4094 {
			return fmt.Errorf("network: VLAN %d, named %q, on %q: want a number from 1 to 4094 and two names", v.ID, v.Name, v.On)
		}
	}

	for _, line := range n.IPs {
		if len(line.Methods) == 0 {
			return fmt.Errorf("network: an ip entry for %q has no method", line.Link)
		}
	}

	return nil
}

// options writes the settings as options of the command line.
func (n Net) options() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, line := range n.IPs {
		add("ip=%s", line.option())
	}
	for _, l := range n.Names {
		add("ifname=%s:%s", l.Name, l.MAC)
	}

	for _, a := range n.Nameservers {
		add("nameserver=%s", a)
	}
	for _, r := range n.Routes {
		add("rd.route=[%s]:%s:%s", r.To, bracketed(r.Via), r.Link)
	}

	for _, b := range n.Bonds {
		mtu := ""
		if b.MTU != 0 {
			mtu = fmt.Sprint(b.MTU)
		}
		add("bond=%s:%s:%s:%s", b.Name, strings.Join(b.Ports, ","), strings.ReplaceAll(strings.TrimSpace(bondString(b)), " ", ","), mtu)
	}

	for _, b := range n.Bridges {
		add("bridge=%s:%s", b.Name, strings.Join(b.Ports, ","))
	}
	if n.BootDev != "" {
		add("bootdev=%s", n.BootDev)
	}

	return out
}

// option writes the line as the value of ip=.
func (line IP) option() string {
	var words []string
	for _, m := range line.Methods {
		words = append(words, string(m))
	}
	client := ""
	if line.Address.IsValid() {
		client = "[" + line.Address.String() + "]"
	}

	s := fmt.Sprintf("%s:%s:%s::%s:%s:%s", client, bracketed(line.Peer), bracketed(line.Gateway), line.Hostname, line.Link, strings.Join(words, ","))
	if line.MTU != 0 || line.MAC != "" {
		s += ":"
		if line.MTU != 0 {
			s += fmt.Sprint(line.MTU)
		}
		s += ":" + string(line.MAC)
	}

	return s
}

func bracketed(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return "[" + a.String() + "]"
}
