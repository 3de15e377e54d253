package netup

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
)

// Keep is the other hand-over, of rd.latchkey.keepnet=1: the links stay as
// they are, and under run ("/run") stands what the real root needs to go
// on with them:
//
//	systemd/network/10-latchkey-<link>.network            systemd.network(5)
//	NetworkManager/system-connections/latchkey-<link>.nmconnection
//	NetworkManager/devices/<index>                        which connection is active
//	net-<link>.conf                                       klibc's ipconfig; cloud-init reads it
//
// It tries all links and returns the first failure.
func Keep(run string, settings plan.Net, links []Link) error {
	var failed error
	for _, l := range links {
		if !l.Up || len(l.Addrs) == 0 {
			continue
		}
		k := kept{Link: l, settings: settings}
		for _, f := range k.files() {
			if err := writeFile(filepath.Join(run, f.path), f.text, f.mode); err != nil && failed == nil {
				failed = fmt.Errorf("keeping link %s: %w", l.Name, err)
			}
		}
	}
	return failed
}

// writeFile leaves no half a file where another program looks.
func writeFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+"~", []byte(text), mode); err != nil {
		return err
	}
	return os.Rename(path+"~", path)
}

// kept is a link whose state is written down.
type kept struct {
	Link
	settings plan.Net
}

type keptFile struct {
	path, text string
	mode       os.FileMode
}

func (k kept) files() []keptFile {
	files := []keptFile{
		{"systemd/network/10-latchkey-" + k.Name + ".network", k.networkd(), 0o644},
		{"net-" + k.Name + ".conf", k.klibc(), 0o644},
	}
	if k.Kind != "" && k.Kind != "veth" {
		// NetworkManager takes over a VLAN, bond or bridge that exists by
		// itself; a connection of ours would need its ports', too.
		return files
	}
	return append(files,
		// NetworkManager ignores a connection that others can read.
		keptFile{"NetworkManager/system-connections/latchkey-" + k.Name + ".nmconnection", k.networkManager(), 0o600},
		keptFile{fmt.Sprintf("NetworkManager/devices/%d", k.Index), "[device]\nmanaged=1\nconnection-uuid=" + k.uuid() + "\n", 0o644})
}

// static tells whether the IPv4 address is from the plan, not from DHCP.
func (k kept) static() bool { return k.Lease == nil }

// addresses are those that outlive the boot and are not the kernel's own.
func (k kept) addresses() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(k.Addrs), func(p netip.Prefix) bool {
		return p.Addr().IsLinkLocalUnicast() || p.Addr().Is6() && !slices.ContainsFunc(k.settings.IPs, func(l plan.IP) bool { return l.Address == p })
	})
}

// networkd keeps what stands on the link until it has its own lease.
func (k kept) networkd() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by latchkey: the network of the boot goes on.\n[Match]\nMACAddress=%s\nName=%s\n\n[Network]\nKeepConfiguration=yes\nIPv6AcceptRA=yes\n", k.MAC, k.Name)
	if !k.static() {
		b.WriteString("DHCP=ipv4\n")
	} else {
		for _, p := range k.addresses() {
			fmt.Fprintf(&b, "Address=%s\n", p)
		}
		for _, g := range k.Gateways {
			fmt.Fprintf(&b, "Gateway=%s\n", g)
		}
	}

	for _, d := range k.DNS {
		fmt.Fprintf(&b, "DNS=%s\n", d)
	}
	if len(k.Domains) > 0 {
		fmt.Fprintf(&b, "Domains=%s\n", strings.Join(k.Domains, " "))
	}

	return b.String()
}

// networkManager writes a connection as nm-initrd-generator does.
func (k kept) networkManager() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[connection]\nid=latchkey-%s\nuuid=%s\ntype=ethernet\ninterface-name=%s\nautoconnect=true\n\n[ethernet]\nmac-address=%s\n\n[ipv4]\n", k.Name, k.uuid(), k.Name, k.MAC)
	if !k.static() {
		b.WriteString("method=auto\n")
	} else {
		b.WriteString("method=manual\n")
		for i, p := range k.addresses() {
			if p.Addr().Is4() {
				fmt.Fprintf(&b, "address%d=%s\n", i+1, p)
			}
		}
		for _, g := range k.Gateways {
			if g.Is4() {
				fmt.Fprintf(&b, "gateway=%s\n", g)
			}
		}
	}

	servers := map[bool]string{}
	for _, d := range k.DNS {
		servers[d.Is4()] += d.String() + ";"
	}
	if servers[true] != "" {
		fmt.Fprintf(&b, "dns=%s\n", servers[true])
	}

	b.WriteString("\n[ipv6]\nmethod=auto\n")
	if servers[false] != "" {
		fmt.Fprintf(&b, "dns=%s\n", servers[false])
	}
	return b.String()
}

// uuid is made of the link's address, the same at each boot: RFC 9562,
// section 5.8.
func (k kept) uuid() string {
	h := sha256.Sum256([]byte("latchkey link " + k.Name + " " + k.MAC.String()))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
