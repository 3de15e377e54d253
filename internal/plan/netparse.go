package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the command line's network part: no machine has more, and
// each entry costs a link or a socket.
const (
	maxIPs     = 32
	maxLayers  = 16 // VLANs, bonds and bridges, each
	maxRoutes  = 64
	maxServers = 8
)

// ParseNet reads the network options of the command line, those of
// dracut.cmdline(7), the kernel's ip= (Documentation/admin-guide/nfs) and
// initramfs-tools(7). An option that is wrong is left out and named in a
// Problem; the others stand.
func ParseNet(args []Arg) (Net, []Problem) {
	var p netParser
	for _, a := range args {
		if err := p.option(a); err != nil {
			p.problems = append(p.problems, Problem{Arg: a, Reason: err.Error()})
		}
	}
	if p.noBootIf {
		p.net.BootMAC = ""
	}
	return p.net, p.problems
}

type netParser struct {
	net      Net
	noBootIf bool // rd.bootif=0: BOOTIF= of the firmware is not ours
	problems []Problem
}

func (p *netParser) option(a Arg) error {
	switch {
	case a.HasPrefix("rd.net."):
		return p.timing(a)
	case a.Is("ip"), a.Is("ip6"):
		return p.ip(a)
	case a.Is("ifname"):
		return p.ifname(a)

	case a.Is("BOOTIF"):
		return p.bootif(a)
	case a.Is("bootdev"):
		return setName(&p.net.BootDev, a.Value)
	case a.Is("nameserver"):
		return p.nameserver(a)

	case a.Is("rd.route"):
		return p.route(a)
	case a.Is("vlan"):
		return p.vlan(a)
	case a.Is("bond"):
		return p.bond(a)

	case a.Is("bridge"):
		return p.bridge(a)
	case a.Is("team"):
		return errors.New("a team needs the teamd daemon, which this image does not have; use bond=<name>:<links>:mode=active-backup")
	default:
		return p.toggle(a)
	}
}

// toggle reads the options that are on or off; other options are not
// about the network.
func (p *netParser) toggle(a Arg) error {
	switch {
	case a.Is("rd.neednet"):
		on, err := parseBool(a)
		if err == nil && !on {
			err = errors.New("has no effect: the network always comes up; ip=<link>:off leaves a link alone")
		}
		return err

	case a.Is("rd.peerdns"):
		on, err := parseBool(a)
		p.net.NoPeerDNS = err == nil && !on
		return err
	case a.Is("rd.bootif"):
		on, err := parseBool(a)
		p.noBootIf = err == nil && !on
		return err

	case a.Is("rd.latchkey.keepnet"):
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

func (p *netParser) timing(a Arg) error {
	t := &p.net.Timeouts
	for name, to := range map[string]*time.Duration{
		"dhcp": &t.DHCP, "iflink": &t.IfLink, "ifup": &t.IfUp, "ipv6auto": &t.IPv6Auto, "carrier": &t.Carrier,
	} {
		if a.Is("rd.net.timeout." + name) {
			n, err := parseInt(a.Value, 1, 86400)
			if err != nil {
				return fmt.Errorf("%w seconds", err)
			}
			*to = time.Duration(n) * time.Second
			return nil
		}
	}

	for _, name := range []string{"rd.net.dhcp.retry", "rd.net.timeout.route", "rd.net.timeout.ipv6dad"} {
		if a.Is(name) {
			return errors.New("has no effect: addresses and routes are asked for until they are there")
		}
	}
	return errors.New("not an option of latchkey; rd.net.timeout.{dhcp,iflink,ifup,ipv6auto,carrier} are")
}

// bootif reads PXELINUX' BOOTIF=01-52-54-00-12-34-56: the ARP hardware
// type (RFC 1700) before the address.
func (p *netParser) bootif(a Arg) error {
	text := a.Value
	if len(text) == len("01-00-00-00-00-00-00") {
		if hw := text[:2]; hw != "01" && hw != "00" {
			return fmt.Errorf("hardware type %q is not 01 (Ethernet)", hw)
		}
		text = text[3:]
	}
	mac, err := ParseMAC(text)
	if err != nil {
		return fmt.Errorf("%w, or 01-52-54-00-12-34-56", err)
	}
	p.net.BootMAC = mac
	return nil
}

func (p *netParser) nameserver(a Arg) error {
	text := strings.TrimSuffix(strings.TrimPrefix(a.Value, "["), "]")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return fmt.Errorf("%q is not the address of a name server", a.Value)
	}
	if slices.Contains(p.net.Nameservers, addr) {
		return nil
	}
	if len(p.net.Nameservers) == maxServers {
		return fmt.Errorf("more than %d name servers", maxServers)
	}
	p.net.Nameservers = append(p.net.Nameservers, addr)
	return nil
}

func setName(to *string, name string) error {
	if !isLinkName(name) {
		return badName(name)
	}
	*to = name
	return nil
}

// isLinkName is dev_valid_name of net/core/dev.c, less characters that no
// driver uses and that would not survive in a log line or a file name.
func isLinkName(s string) bool {
	if len(s) == 0 || len(s) > 15 || s == "." || s == ".." || s == "all" || s == "default" || s == "lo" {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/:,;[]"'\`, r)
	})
}

func badName(s string) error {
	return fmt.Errorf("%q is not the name of a network link (1 to 15 characters, such as eth0)", s)
}

func setInt(to *int, s string, low, high int) error {
	n, err := parseInt(s, low, high)
	if err == nil {
		*to = n
	}
	return err
}

func parseInt(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a number from %d to %d", s, low, high)
	}
	return n, nil
}
