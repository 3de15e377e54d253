package netup

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// klibc writes what klibc's ipconfig would have (usr/kinit/ipconfig/main.c,
// dump_device_config): the shell variables that initramfs-tools, open-iscsi
// and cloud-init read. All values are addresses, numbers and checked names.
func (k kept) klibc() string {
	address, mask, gateway := "", "", "0.0.0.0"
	for _, p := range k.Addrs {
		if p.Addr().Is4() && (address == "" || !p.Addr().IsLinkLocalUnicast()) {
			address, mask = p.Addr().String(), net.IP(net.CIDRMask(p.Bits(), 32)).String()
		}
	}

	if g := first4(k.Gateways); g.IsValid() {
		gateway = g.String()
	}
	proto, server, hostname := "static", "0.0.0.0", ""
	if k.Lease != nil {
		proto, server, hostname = "dhcp", k.Lease.Server.String(), k.Lease.Hostname
	}

	domain := ""
	if len(k.Domains) > 0 {
		domain = k.Domains[0]
	}
	dns := []string{"0.0.0.0", "0.0.0.0"}
	n := 0
	for _, d := range k.DNS {
		if d.Is4() && n < len(dns) {
			dns[n] = d.String()
			n++
		}
	}

	var b strings.Builder
	for _, v := range [][2]string{
		{"DEVICE", k.Name},
		{"PROTO", proto},
		{"IPV4ADDR", address},
		{"IPV4BROADCAST", "0.0.0.0"},
		{"IPV4NETMASK", mask},
		{"IPV4GATEWAY", gateway},
		{"IPV4DNS0", dns[0]},
		{"IPV4DNS1", dns[1]},
		{"HOSTNAME", hostname},
		{"DNSDOMAIN", domain},
		{"ROOTSERVER", server},
		{"DOMAINSEARCH", strings.Join(k.Domains, " ")},
	} {
		fmt.Fprintf(&b, "%s='%s'\n", v[0], v[1])
	}

	return b.String()
}

func first4(list []netip.Addr) netip.Addr {
	for _, a := range list {
		if a.Is4() {
			return a
		}
	}
	return netip.Addr{}
}
