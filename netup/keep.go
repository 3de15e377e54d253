package netup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
)

// Keep is the other hand-over, of rd.latchkey.keepnet=1: the links stay as
// they are, and below run ("/run") stands, for each that has an address, what
// the real root's network service needs to go on with it:
//
//	systemd/network/zz-latchkey-<link>.network            systemd.network(5)
//	NetworkManager/system-connections/latchkey-<link>.nmconnection
//	NetworkManager/devices/<index>                        which connection is active
//
// The files say what the plan says, not what a server said in this boot: that
// it says again. They go by hardware address, since udev renames links that
// are up (Linux 6.2 and later), and networkd reads them after all files of the
// owner. NetworkManager goes on with our connection until the owner's is
// activated, as after dracut: without devices/<index> it would take the link
// for somebody else's, renew no lease, and activate nothing on it (seen with
// 1.52). For others (ifupdown, cloud-init) nothing is written: their files go
// by names that may have changed. Keep tries all links and returns what failed.
func Keep(k Kernel, run string, settings plan.Net, links []Link) error {
	devices, err := k.Devices()
	if err != nil {
		return err
	}

	var failed []error
	for _, d := range devices {
		i := slices.IndexFunc(links, func(l Link) bool { return l.Index == d.Index })
		if i >= 0 && links[i].Up && slices.ContainsFunc(links[i].Addrs, isLasting) {
			link := kept{Link: links[i], dev: d, settings: settings}
			if err := link.write(run); err != nil {
				failed = append(failed, fmt.Errorf("keeping link %s: %w", d.Name, err))
			}
		}
		if _, ours := parseNote(d.Alias); ours {
			failed = append(failed, unprepare(k, d), k.Do(SetAlias{d.Index, ""}))
		}
	}
	return errors.Join(failed...)
}

// kept is a link whose settings are written down.
type kept struct {
	Link
	dev      Device
	settings plan.Net
}

func (k kept) write(run string) error {
	if !k.planned() {
		return nil
	}
	files := []keptFile{{"systemd/network/zz-latchkey-" + k.Name + ".network", k.networkd(), 0o644}}
	// NetworkManager takes over a VLAN, bond or bridge that exists by itself;
	// a connection of ours would need its ports', too.
	if isHardware(k.dev) && len(k.MAC) == 6 {
		files = append(files,
			// NetworkManager ignores a connection that others can read.
			keptFile{"NetworkManager/system-connections/latchkey-" + k.Name + ".nmconnection", k.networkManager(), 0o600},
			keptFile{fmt.Sprintf("NetworkManager/devices/%d", k.Index), "[device]\nmanaged=1\nconnection-uuid=" + k.uuid() + "\n", 0o644})
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(run, f.path), f.text, f.mode); err != nil {
			return err
		}
	}
	return nil
}

type keptFile struct {
	path, text string
	mode       os.FileMode
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

// networkd keeps what stands on the link while networkd asks for its own.
func (k kept) networkd() string {
	w := &strings.Builder{}
	w.WriteString("# Written by latchkey: the network of the boot goes on.\n[Match]\n")
	switch {
	case !isHardware(k.dev):
		fmt.Fprintf(w, "Name=%s\n", k.Name) // made by us under this name
	case len(k.MAC) == 6:
		fmt.Fprintf(w, "MACAddress=%s\nType=ether\n", k.MAC) // a VLAN on it has the same address
	default:
		fmt.Fprintf(w, "MACAddress=%s\n", k.MAC)
	}

	dhcp := map[[2]bool]string{{true, true}: "yes", {true, false}: "ipv4", {false, true}: "ipv6", {false, false}: "no"}
	fmt.Fprintf(w, "\n[Network]\nKeepConfiguration=yes\nDHCP=%s\nIPv6AcceptRA=%s\n",
		dhcp[[2]bool{k.has(plan.DHCP), k.dhcp6()}], yesNo(!k.has(plan.Link6) && !k.has(plan.Off6)))
	if k.has(plan.Link4) {
		w.WriteString("LinkLocalAddressing=yes\n")
	}
	for _, line := range k.Plan {
		if line.Address.IsValid() {
			fmt.Fprintf(w, "Address=%s\n", line.Address)
		}
		if line.Gateway.IsValid() {
			fmt.Fprintf(w, "Gateway=%s\n", line.Gateway)
		}
	}
	for _, d := range k.servers(true, true) {
		fmt.Fprintf(w, "DNS=%s\n", d)
	}

	peer := ""
	if k.settings.NoPeerDNS {
		peer = "UseDNS=no\n"
	}
	if text := k.clientIdentifier() + peer; k.has(plan.DHCP) && text != "" {
		w.WriteString("\n[DHCPv4]\n" + text)
	}
	if k.dhcp6() {
		w.WriteString("\n[DHCPv6]\nWithoutRA=solicit\n" + peer)
	}
	if peer != "" {
		w.WriteString("\n[IPv6AcceptRA]\n" + peer)
	}
	return w.String()
}

// clientIdentifier makes networkd say who it is as we did, so that the server
// gives it the same address.
func (k kept) clientIdentifier() string {
	if len(k.MAC) != 6 {
		return ""
	}
	return "ClientIdentifier=mac\n"
}

func (k kept) dhcp6() bool { return k.has(plan.DHCP6) || k.has(plan.Either6) }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
