package discover

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// resolvConfs are where a running system names its DNS servers. The first is
// systemd-resolved's list of the real ones: resolv.conf(5) then holds
// nothing but its own address.
var resolvConfs = [...]string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"}

// HostServers returns the DNS servers and search domains of this machine as
// an Interface that is no link, to be given to Finder.Update beside the
// links. A system that names none has none.
func HostServers() Interface {
	for _, path := range resolvConfs {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		i := readResolvConf(f)
		f.Close()
		if len(i.DNS) > 0 {
			return i
		}
	}
	return Interface{}
}

// readResolvConf reads resolv.conf(5): nameserver lines, and the last search
// or domain line.
func readResolvConf(r io.Reader) Interface {
	var i Interface
	lines := bufio.NewScanner(io.LimitReader(r, 64<<10))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil && !slices.Contains(i.DNS, a) {
				i.DNS = append(i.DNS, a)
			}
		case "search", "domain":
			i.Domains = nil
			for _, d := range words[1:] {
				if d = strings.Trim(d, "."); d != "" {
					i.Domains = append(i.Domains, d)
				}
			}
		}
	}
	return i
}
