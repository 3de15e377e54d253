package agent

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"latchkey/internal/ifwatch"
	"latchkey/netup"
)

// Where the DNS servers are that others have learned: klibc's ipconfig, as
// initramfs-tools calls it, dracut and systemd-networkd.
const (
	ipconfigFiles = "/run/net-*.conf"
	resolvConf    = "/etc/resolv.conf"
	networkdConf  = "/run/systemd/resolve/resolv.conf"
)

// watch tells of the links as others bring them up, until ctx ends.
func watch(ctx context.Context, update func([]netup.Link)) error {
	changes, err := ifwatch.Watch(ctx)
	if err != nil {
		return err
	}
	for {
		links, err := ifwatch.Links()
		if err != nil {
			return err
		}
		update(given(links, servers("/")))
		select {
		case _, ok := <-changes:
			if !ok {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// given are links that frames pass on, and behind them the DNS servers, which
// the routes lead to.
func given(links []ifwatch.Link, dns []netip.Addr) (all []netup.Link) {
	for _, l := range links {
		if l.Flags&unix.IFF_LOOPBACK != 0 || l.Flags&unix.IFF_RUNNING == 0 {
			continue
		}
		one := netup.Link{Index: l.Index, Name: l.Name, Kind: l.Kind, Up: true}
		for _, a := range l.Addrs {
			if a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
				one.Addrs = append(one.Addrs, a.Prefix)
			}
		}
		all = append(all, one)
	}
	if len(dns) > 0 {
		all = append(all, netup.Link{Up: true, DNS: dns})
	}
	return all
}

// servers are the DNS servers that are written below a root.
func servers(root string) (all []netip.Addr) {
	files, _ := filepath.Glob(filepath.Join(root, ipconfigFiles))
	for _, f := range append(files, filepath.Join(root, networkdConf), filepath.Join(root, resolvConf)) {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if a, ok := server(strings.TrimSpace(line)); ok {
				all = append(all, a)
			}
		}
	}
	return all
}

// server reads "nameserver ADDRESS" or "IPV4DNS0='ADDRESS'". ipconfig writes
// 0.0.0.0 for none.
func server(line string) (netip.Addr, bool) {
	value, ok := strings.CutPrefix(line, "nameserver ")
	if name, quoted, isSet := strings.Cut(line, "="); isSet && (strings.HasPrefix(name, "IPV4DNS") || strings.HasPrefix(name, "IPV6DNS")) {
		value, ok = strings.Trim(quoted, `'"`), true
	}
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.TrimSpace(value))
	return a, err == nil && !a.IsUnspecified()
}
