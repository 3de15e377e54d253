package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"latchkey/discover"
)

// Limits of a targets file.
const (
	maxFile    = 64 << 10
	maxTargets = 64
)

// A target is one address of a key server, and the names it is answered
// for.
type target struct {
	host     string
	addr     netip.AddrPort // without an address: this machine, see ownPort
	services string         // comma-separated
}

// ownPort is a port of this machine, at each link's own addresses.
func ownPort(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, port) }

// text writes an address as parseTarget reads it.
func text(a netip.AddrPort) string {
	if !a.Addr().IsValid() {
		return fmt.Sprintf(":%d", a.Port())
	}
	return a.String()
}

func parseTarget(text string) (netip.AddrPort, error) {
	if port, own := strings.CutPrefix(text, ":"); own {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return ownPort(uint16(n)), nil
		}
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil || ap.Port() == 0 {
		return ap, fmt.Errorf("target %q is not ADDRESS:PORT, such as 192.0.2.5:7741 or [2001:db8::5]:7741, or :PORT for this machine", text)
	}
	return ap, nil
}

// readTargets reads a targets file: a line for each target, HOST
// ADDRESS:PORT [SERVICE,SERVICE...]; # begins a comment.
func readTargets(path, services string) ([]target, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading targets: %w", err)
	}
	defer f.Close()
	var out []target
	lines := bufio.NewScanner(io.LimitReader(f, maxFile))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}

		if len(fields) < 2 || len(fields) > 3 {
			return nil, fmt.Errorf("%s:%d: want HOST ADDRESS:PORT [SERVICE,SERVICE...]", path, n)
		}
		addr, err := parseTarget(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}

		t := target{fields[0], addr, services}
		if len(fields) == 3 {
			t.services = fields[2]
		}
		out = append(out, t)
		if len(out) > maxTargets {
			return nil, fmt.Errorf("%s:%d: more than %d targets", path, n, maxTargets)
		}
	}

	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s names no target: write a line HOST ADDRESS:PORT, such as kms.local 192.0.2.5:7741, and start the responder again", path)
	}

	return out, nil
}

// announcements puts targets with the same host, port and services
// together, those on this machine apart. Those that alive refuses are left
// out.
func (o *options) announcements(targets []target, alive func(netip.AddrPort) bool) []discover.Announcement {
	var all []discover.Announcement
	for _, t := range targets {
		if !alive(t.addr) {
			continue
		}
		services := strings.FieldsFunc(t.services, func(r rune) bool { return r == ',' })
		here := !t.addr.Addr().IsValid()
		i := slices.IndexFunc(all, func(a discover.Announcement) bool {
			return strings.EqualFold(a.Host, t.host) && a.Port == t.addr.Port() && slices.Equal(a.Services, services) && (len(a.Addrs) == 0) == here
		})
		if i < 0 {
			all = append(all, discover.Announcement{
				Host: t.host, OwnName: here && isOwnName(t.host), Port: t.addr.Port(), Services: services, Text: o.text, Instance: o.instanceOf(t, all),
			})
			i = len(all) - 1
		}

		if !here {
			all[i].Addrs = append(all[i].Addrs, t.addr.Addr())
		}
	}
	return all
}

// isOwnName tells whether this machine itself is called so.
func isOwnName(host string) bool {
	name, err := os.Hostname()
	first, _, _ := strings.Cut(name, ".")
	return err == nil && strings.EqualFold(strings.TrimSuffix(host, "."), first+".local")
}

// instanceOf names the service instance: --instance, else the first label
// of the host. A second port of one host makes a second instance.
func (o *options) instanceOf(t target, before []discover.Announcement) string {
	label, _, _ := strings.Cut(t.host, ".")
	name := cmp.Or(o.instance, label)
	if slices.ContainsFunc(before, func(a discover.Announcement) bool { return a.Instance == name }) {
		name = fmt.Sprintf("%s port %d", name, t.addr.Port())
	}
	return name
}
