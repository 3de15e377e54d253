package plan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MTU limits: RFC 791 asks for 68 bytes; 65535 is the largest packet.
const (
	minMTU = 68
	maxMTU = 65535
)

// bare takes the brackets off an IPv6 address; its length may follow them.
func bare(s string) string {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if address, after, ok := strings.Cut(rest, "]"); ok && (after == "" || after[0] == '/') {
			return address + after
		}
	}
	return s
}

// isAddress tells an address, perhaps with its length, from a word. What
// has the form of one counts, too, so that a mistake in it is named.
func isAddress(s string) bool {
	a, _, _ := strings.Cut(bare(s), "/")
	if _, err := netip.ParseAddr(a); err == nil {
		return true
	}
	return strings.HasPrefix(s, "[") || strings.Count(a, ".") == 3 && strings.Trim(a, "0123456789.") == ""
}

// isAlone tells whether the whole of an option's value is one address.
func isAlone(value string) bool {
	_, err := netip.ParseAddr(bare(value))
	if err != nil {
		_, err = netip.ParsePrefix(bare(value))
	}
	return err == nil
}

// parseClient reads the address of a static line with its mask, which is
// dotted, a prefix length, or part of the address. Without one, an IPv4
// address has the mask of its class (nfsroot.rst of the kernel), and an
// IPv6 address is that of a host. masked tells that a mask stood there. An
// error with an address is about the mask.
func parseClient(client, mask string) (p netip.Prefix, masked bool, err error) {
	text, length, hasLength := strings.Cut(bare(client), "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || !isHost(addr) {
		return netip.Prefix{}, false, fmt.Errorf("client %q is not the address of a host; the link asks DHCP", client)
	}

	bits := addr.BitLen()
	if addr.Is4() {
		bits = classBits(addr)
	}
	switch {
	case hasLength && mask != "" && mask != length:
		err = fmt.Errorf("two masks, %q and %q: the first counts", length, mask)
		mask = length
	case hasLength:
		mask = length
	case mask == "":
		return netip.PrefixFrom(addr, bits), false, nil
	}

	n, bad := parseMask(addr, bare(mask))
	if bad != nil {
		return netip.PrefixFrom(addr, bits), false, fmt.Errorf("%w: /%d is used", bad, bits)
	}
	if p := netip.PrefixFrom(addr, n); edge(p, addr) != "" {
		return netip.Prefix{}, false, fmt.Errorf("client %s is %s and no host's; the link asks DHCP", p, edge(p, addr))
	}
	return netip.PrefixFrom(addr, n), true, err
}

// edge is what an address at either end of an IPv4 network is, "" for all
// others: RFC 1122, section 3.2.1.3. A network of two has none (RFC 3021).
func edge(p netip.Prefix, a netip.Addr) string {
	if !a.Is4() || p.Bits() >= 31 || !p.Contains(a) {
		return ""
	}
	host := binary.BigEndian.Uint32(a.AsSlice()) << p.Bits()
	switch host {
	case 0:
		return "the address of the network itself"
	case ^uint32(0) << p.Bits():
		return "the broadcast address of its network"
	}
	return ""
}

// parseMask reads a mask, dotted or as an IPv6 address, or a length.
func parseMask(addr netip.Addr, mask string) (int, error) {
	if m, err := netip.ParseAddr(mask); err == nil && m.BitLen() == addr.BitLen() {
		if n := ones(m.AsSlice()); n > 0 {
			return n, nil
		}
	}
	n, err := parseInt(mask, 1, addr.BitLen())
	if err != nil {
		return 0, fmt.Errorf("mask %q is not dotted (255.255.255.0) nor a length from 1 to %d", mask, addr.BitLen())
	}
	return n, nil
}

// ones counts the leading ones of a mask; 0 if others follow.
func ones(mask []byte) int {
	text := ""
	for _, b := range mask {
		text += fmt.Sprintf("%08b", b)
	}
	n := strings.IndexByte(text+"0", '0')
	if strings.Contains(text[n:], "1") {
		return 0
	}
	return n
}

// classBits is the mask of RFC 791, section 3.2.
func classBits(addr netip.Addr) int {
	switch first := addr.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}

// parseHost reads the address of one host; "" is none.
func parseHost(text, what string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(bare(text))
	if err != nil || !isHost(a) {
		return netip.Addr{}, fmt.Errorf("%s %q is not the address of a host (IPv6 in brackets)", what, text)
	}
	return a, nil
}

func isHost(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6() &&
		a.Zone() == "" && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// tail adds what may follow the method: <dns>[:<dns>[:<ntp>]], or
// [<mtu>][:<mac>], whose colons have been cut.
func (p *netParser) tail(line *IP, tail []string) {
	isServer := func(s string) bool { return strings.ContainsAny(s, ".:") }
	if slices.ContainsFunc(tail[:min(3, len(tail))], isServer) {
		p.servers(line, tail)
		return
	}

	if mtu := field(tail, 0); mtu != "" {
		n, err := parseInt(mtu, minMTU, maxMTU)
		if err != nil {
			p.drop("MTU %s", err)
		}
		line.MTU = n
	}
	if text := strings.Join(from(tail, 1), ":"); text != "" {
		mac, err := ParseMAC(text)
		if err != nil {
			p.drop("%s", err)
		}
		line.MAC = mac
	}
}

func (p *netParser) servers(line *IP, list []string) {
	for i, text := range list {
		a, err := parseHost(text, "name server")
		switch {
		case err != nil:
			p.drop("%s", err)
		case !a.IsValid() || slices.Contains(line.DNS, a):
		case i == 2:
			p.drop("time server %s is not asked: nothing here sets the clock", a)
		case i > 2:
			p.drop("after <dns>:<dns>:<ntp> nothing may follow, not %s", a)
		default:
			line.DNS = append(line.DNS, a)
		}
	}
}

// isHostName is RFC 1123, section 2.1; "" is no name.
func isHostName(s string) bool {
	return len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}
