package netup

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"latchkey/internal/plan"
)

// networkManager writes a connection as nm-initrd-generator does. It has the
// lowest priority, and no name: udev may give the link another one.
func (k kept) networkManager() string {
	w := &strings.Builder{}
	fmt.Fprintf(w, "[connection]\nid=latchkey-%s\nuuid=%s\ntype=ethernet\nautoconnect=true\nautoconnect-priority=-999\n", k.Name, k.uuid())
	fmt.Fprintf(w, "\n[ethernet]\nmac-address=%s\n", net.HardwareAddr(hardware(k.dev)))
	method4, method6 := "disabled", "auto"
	switch {
	case k.has(plan.DHCP):
		method4 = "auto"
	case k.static(true):
		method4 = "manual"
	case k.has(plan.Link4):
		method4 = "link-local"
	}
	switch {
	case k.has(plan.Link6), k.has(plan.Off6):
		method6 = "link-local"
	case k.has(plan.DHCP6):
		method6 = "dhcp"
	case k.static(false):
		method6 = "manual"
	}

	fmt.Fprintf(w, "\n[ipv4]\nmethod=%s\n", method4)
	if method4 == "auto" {
		w.WriteString("dhcp-client-id=mac\n") // as we were, for the same address
	}
	k.nmAddresses(w, true)
	fmt.Fprintf(w, "\n[ipv6]\nmethod=%s\n", method6)
	k.nmAddresses(w, false)
	return w.String()
}

// nmAddresses adds what the plan says of one IP version.
func (k kept) nmAddresses(w *strings.Builder, v4 bool) {
	n := 0
	for _, line := range k.Plan {
		if line.Address.IsValid() && line.Address.Addr().Is4() == v4 {
			n++
			fmt.Fprintf(w, "address%d=%s\n", n, line.Address)
			if line.Gateway.IsValid() && n == 1 {
				fmt.Fprintf(w, "gateway=%s\n", line.Gateway)
			}
		}
	}

	dns := ""
	for _, d := range k.servers(v4, !v4) {
		dns += d.String() + ";"
	}
	if dns != "" {
		fmt.Fprintf(w, "dns=%s\n", dns)
	}
	if k.settings.NoPeerDNS {
		w.WriteString("ignore-auto-dns=true\n")
	}
}

// planned tells whether the plan speaks of the link.
func (k kept) planned() bool { return len(k.settings.IPs) == 0 || len(k.Plan) > 0 || k.Lease != nil }

// has tells whether the link has a method; without ip= it is DHCP.
func (k kept) has(m plan.Method) bool {
	if m == plan.DHCP && (len(k.settings.IPs) == 0 || k.Lease != nil) {
		return true
	}
	for _, line := range k.Plan {
		if slices.Contains(line.Methods, m) {
			return true
		}
	}
	return false
}

// static tells whether the plan gives the link an address of an IP version.
func (k kept) static(v4 bool) bool {
	for _, line := range k.Plan {
		if line.Address.IsValid() && line.Address.Addr().Is4() == v4 {
			return true
		}
	}
	return false
}

// servers are the DNS servers of the plan.
func (k kept) servers(v4, v6 bool) (out []netip.Addr) {
	all := k.settings.Nameservers
	for _, line := range k.Plan {
		all = append(all[:len(all):len(all)], line.DNS...)
	}
	for _, a := range all {
		if a.Is4() && v4 || !a.Is4() && v6 {
			out = append(out, a)
		}
	}
	return out
}

// isLasting tells whether an address reaches beyond the link.
func isLasting(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() }

// uuid is made of the link's address, the same at each boot: RFC 9562,
// section 5.8.
func (k kept) uuid() string {
	h := sha256.Sum256([]byte("latchkey link " + net.HardwareAddr(hardware(k.dev)).String()))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
