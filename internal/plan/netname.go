package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ifname reads <name>:<MAC>.
func (p *netParser) ifname(value string) error {
	name, text, _ := strings.Cut(value, ":")
	if !isLinkName(name) {
		return badName(name)
	}
	mac, err := ParseMAC(text)
	if err != nil {
		//lint:ignore ST1005 the colon is the form that is wanted
		return fmt.Errorf("%w after <name>:", err)
	}

	if slices.ContainsFunc(p.net.Names, func(n LinkName) bool { return n.Name == name || n.MAC == mac }) {
		return fmt.Errorf("%s or %s is named twice", name, mac)
	}
	if len(p.net.Names) == maxIPs {
		return fmt.Errorf("more than %d ifname= options", maxIPs)
	}

	p.net.Names = append(p.net.Names, LinkName{Name: name, MAC: mac})
	return nil
}

// bootif reads PXELINUX' BOOTIF=01-52-54-00-12-34-56: the ARP hardware
// type (RFC 1700) before the address; 20 is that of InfiniBand, 00 that of
// firmware that does not care.
func (p *netParser) bootif(value string) error {
	text := value
	if head, rest, ok := strings.Cut(value, "-"); ok && len(head) == 2 && strings.Count(rest, "-") != 4 {
		if !slices.Contains([]string{"00", "01", "06", "20"}, head) {
			p.drop("hardware type %q is not 01 (Ethernet); the address is used all the same", head)
		}
		text = rest
	}
	mac, err := ParseMAC(text)
	if err != nil {
		return fmt.Errorf("%w, or 01-52-54-00-12-34-56", err)
	}
	p.net.BootMAC = mac
	return nil
}

// nameservers reads one address, or several with commas.
func (p *netParser) nameservers(value string) error {
	for text := range strings.SplitSeq(value, ",") {
		addr, err := netip.ParseAddr(bare(text))
		switch {
		case err != nil || !isNameserver(addr):
			p.drop("%q is not the address of a name server", text)
		case slices.Contains(p.net.Nameservers, addr):
		case len(p.net.Nameservers) == maxServers:
			return fmt.Errorf("more than %d name servers", maxServers)
		default:
			p.net.Nameservers = append(p.net.Nameservers, addr)
		}
	}
	return nil
}

func isNameserver(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
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
