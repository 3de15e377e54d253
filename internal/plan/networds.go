package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MergeNet returns the network settings of the plan file with those of
// the command line in front: if the command line says anything of links
// (ip=, vlan=, bond=, bridge=), its links replace the plan's as a whole,
// so that one text says what the links are. Of the other settings, each
// one that the command line gives replaces the plan's.
func MergeNet(file, cmdline Net) Net {
	n := file
	if len(cmdline.IPs)+len(cmdline.VLANs)+len(cmdline.Bonds)+len(cmdline.Bridges) > 0 {
		n.IPs, n.VLANs, n.Bonds, n.Bridges = cmdline.IPs, cmdline.VLANs, cmdline.Bonds, cmdline.Bridges
	}
	replace(&n.Names, cmdline.Names)
	replace(&n.Nameservers, cmdline.Nameservers)
	replace(&n.Routes, cmdline.Routes)
	override(&n.BootMAC, cmdline.BootMAC)
	override(&n.BootDev, cmdline.BootDev)
	override(&n.NoPeerDNS, cmdline.NoPeerDNS)
	override(&n.Keep, cmdline.Keep)
	override(&n.Timeouts.DHCP, cmdline.Timeouts.DHCP)
	override(&n.Timeouts.IfLink, cmdline.Timeouts.IfLink)
	override(&n.Timeouts.IfUp, cmdline.Timeouts.IfUp)
	override(&n.Timeouts.IPv6Auto, cmdline.Timeouts.IPv6Auto)
	override(&n.Timeouts.Carrier, cmdline.Timeouts.Carrier)
	return n
}

func override[T comparable](to *T, from T) {
	var zero T
	if from != zero {
		*to = from
	}
}

func replace[T any](to *[]T, from []T) {
	if len(from) > 0 {
		*to = from
	}
}

// steers tells whether the settings say how anything is reached.
func (n Net) steers() bool {
	return len(n.IPs)+len(n.Names)+len(n.Nameservers)+len(n.Routes)+len(n.VLANs)+len(n.Bonds)+len(n.Bridges) > 0 ||
		n.BootMAC != "" || n.BootDev != "" || n.NoPeerDNS
}

// Modules are the kernel modules that the settings need beside the
// drivers of the hardware. The kernel asks for protocols by
// request_module("net-pf-…") (net/socket.c), which nobody answers in an
// initramfs: packet sockets and IPv6 are modules on openSUSE and Alpine.
func (n Net) Modules() []string {
	out := []string{"af_packet", "ipv6"}
	for _, m := range []struct {
		needed bool
		name   string
	}{{len(n.Bonds) > 0, "bonding"}, {len(n.VLANs) > 0, "8021q"}, {len(n.Bridges) > 0, "bridge"}} {
		if m.needed {
			out = append(out, m.name)
		}
	}
	return out
}

// String tells the settings in words, on one line, for the log.
func (n Net) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	for _, v := range n.VLANs {
		add("%s is VLAN %d on %s", v.Name, v.ID, v.On)
	}

	for _, b := range n.Bonds {
		add("%s bonds %s%s%s", b.Name, strings.Join(b.Ports, "+"), bondString(b), word(" MTU ", b.MTU))
	}
	for _, b := range n.Bridges {
		add("%s bridges %s", b.Name, cmp.Or(strings.Join(b.Ports, "+"), "nothing"))
	}

	for _, line := range n.IPs {
		add("%s", line)
	}
	if len(n.IPs) == 0 {
		add("dhcp and router advertisements on every link")
	}

	for _, l := range n.Names {
		add("%s is called %s", l.MAC, l.Name)
	}
	if n.BootDev != "" {
		add("default route through %s", n.BootDev)
	}

	if n.BootMAC != "" {
		add("booted from %s", n.BootMAC)
	}
	for _, r := range n.Routes {
		add("route %s%s%s", r.To, word(" via ", r.Via), word(" on ", r.Link))
	}

	for _, a := range n.Nameservers {
		add("DNS %s", a)
	}
	if n.NoPeerDNS {
		add("no DNS from DHCP")
	}

	if n.Keep {
		add("kept for the real root")
	}
	return strings.Join(parts, ", ")
}

func bondString(b Bond) string {
	s := ""
	for _, o := range b.Options {
		s += " " + o.Name + "=" + o.Value
	}
	return s
}

// String tells the line in words.
func (line IP) String() string {
	link := line.Link
	if link == "" {
		link = "every link"
	}
	var how []string

	for _, m := range line.Methods {
		switch m {
		case Off6:
			how = append(how, "no IPv6")
		case Static:
			how = append(how, line.Address.String()+word(" peer ", line.Peer)+word(" gateway ", line.Gateway))
		default:
			how = append(how, string(m))
		}
	}

	s := link + " " + strings.Join(how, "+")
	s += word(" MTU ", line.MTU)
	for _, a := range line.DNS {
		s += word(" DNS ", a)
	}
	return s + word(" MAC ", line.MAC) + word(" host ", line.Hostname)
}

// word is before and v, or nothing when v is its zero value.
func word[T comparable](before string, v T) string {
	var zero T
	if v == zero {
		return ""
	}
	return before + fmt.Sprint(v)
}

// isOff tells whether the settings leave no link to ask anybody on.
func (n Net) isOff() bool {
	everywhere := false
	for _, line := range n.IPs {
		if !slices.Equal(line.Methods, []Method{Off}) {
			return false
		}
		everywhere = everywhere || line.Link == ""
	}
	return everywhere
}

// Links are the names of the machine's own links that the settings name: those
// of layers are left out, and what they stand on is named.
func (n Net) Links() (names []string) {
	add := func(name string) {
		if name != "" && !n.makes(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, ip := range n.IPs {
		add(ip.Link)
	}
	for _, v := range n.VLANs {
		add(v.On)
	}
	for _, b := range n.Bonds {
		for _, port := range b.Ports {
			add(port)
		}
	}
	for _, b := range n.Bridges {
		for _, port := range b.Ports {
			add(port)
		}
	}
	return names
}
