package plan

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of the command line's network part: no machine has more, and
// each entry costs a link or a socket.
const (
	maxIPs     = 32
	maxLayers  = 16 // VLANs, bonds and bridges, each
	maxRoutes  = 64
	maxServers = 8
)

// ParseNet reads the network options of the command line: those of
// dracut.cmdline(7), systemd-network-generator(8), nm-initrd-generator(8),
// initramfs-tools(7), PXELINUX and the kernel's ip=
// (Documentation/admin-guide/nfs/nfsroot.rst). A field that is wrong is left
// out and named in a Problem, and the rest of its option stands; an option
// of which nothing is left is named, and the others stand.
func ParseNet(args []Arg) (Net, []Problem) {
	var p netParser
	for _, a := range args {
		p.arg = a
		if err := p.option(a); err != nil {
			p.problems = append(p.problems, Problem{Arg: a, Reason: err.Error()})
			p.refuse(a)
		}
	}

	p.mergeIP6()
	p.net.IPs = settle(p.net.IPs)
	p.whole()
	if p.noBootIf {
		p.net.BootMAC = ""
	}
	return p.net, p.problems
}

type netParser struct {
	net      Net
	ip6      []IP // of ip6=, joined with those of ip= at the end
	noBootIf bool // rd.bootif=0: BOOTIF= of the firmware is not ours
	arg      Arg  // the option that is being read
	problems []Problem
	origins  []origin  // of what was read
	refused  []refusal // links that are not made
}

// drop names a field that is left out of the option that is being read.
func (p *netParser) drop(format string, args ...any) {
	p.problems = append(p.problems, Problem{Arg: p.arg, Reason: fmt.Sprintf(format, args...)})
}

// option reads one option. An error means that all of it is left out.
func (p *netParser) option(a Arg) error {
	switch canonical(a.Key) {
	case "ip", "nfsaddrs": // nfsroot.rst: the old name
		return p.ip(a.Value)
	case "ip6":
		return p.ip6line(a.Value)
	case "ifname":
		return p.ifname(a.Value)
	case "BOOTIF":
		return p.bootif(a.Value)
	case "bootdev":
		p.came("bootdev", "")
		return setName(&p.net.BootDev, a.Value)
	case "nameserver":
		return p.nameservers(a.Value)
	case "rd.route":
		return p.route(a.Value)
	case "vlan":
		return p.vlan(a.Value)
	case "bond":
		return p.bond(a.Value)
	case "bridge":
		return p.bridge(a.Value)
	case "team":
		return errors.New("a team needs the teamd daemon, which this image does not have; use bond=<name>:<links>:mode=active-backup")
	}

	if a.HasPrefix("rd.net.") {
		return p.timing(a)
	}
	return p.toggle(a)
}

// toggle reads the options that are on or off; other options are not
// about the network.
func (p *netParser) toggle(a Arg) error {
	switch canonical(a.Key) {
	case "rd.neednet":
		// The network always comes up. 0 does not keep it down in dracut
		// either, where something else asks for it.
		_, err := parseBool(a)
		return err
	case "rd.peerdns":
		on, err := parseBool(a)
		p.net.NoPeerDNS = err == nil && !on
		return err
	case "rd.bootif":
		on, err := parseBool(a)
		p.noBootIf = err == nil && !on
		return err
	case "rd.latchkey.keepnet":
		on, err := parseBool(a)
		p.net.Keep = on
		return err
	}
	return nil
}

// parseBool is dracut's getargbool: nothing, 1, yes, on and y are true.
func parseBool(a Arg) (bool, error) {
	if !a.HasValue {
		return true, nil
	}
	switch a.Value {
	case "1", "yes", "on", "y", "true":
		return true, nil
	case "0", "no", "off", "n", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither 1 nor 0", a.Value)
}

// splitFields cuts at colons, but not inside the brackets of an IPv6
// address. Empty fields at the end mean nothing and are left out.
func splitFields(value string) ([]string, error) {
	var fields []string
	start, inside := 0, false
	for i, c := range []byte(value) {
		switch {
		case c == '[' && !inside:
			inside = true
		case c == ']':
			inside = false
		case c == ':' && !inside:
			fields = append(fields, value[start:i])
			start = i + 1
		}
	}
	if inside {
		return nil, errors.New("bracket [ without ]")
	}

	fields = append(fields, value[start:])
	for len(fields) > 0 && fields[len(fields)-1] == "" {
		fields = fields[:len(fields)-1]
	}
	return fields, nil
}

// field is the i-th of the fields, "" beyond their end.
func field(f []string, i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

// from is what follows the first n fields.
func from(f []string, n int) []string { return f[min(n, len(f)):] }

func parseInt(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high || strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("%q is not a number from %d to %d", s, low, high)
	}
	return n, nil
}
