package plan

import (
	"errors"
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

// parseClient reads the address of a static line with its mask, which is
// dotted, a prefix length, or part of the address. Without one, an IPv4
// address has the mask of its class: nfsroot.rst of the kernel.
func parseClient(client, mask string) (netip.Prefix, error) {
	if strings.Contains(client, "/") {
		if mask != "" {
			return netip.Prefix{}, fmt.Errorf("two masks: %q and %q", client, mask)
		}
		p, err := netip.ParsePrefix(client)
		if err != nil || !isHost(p.Addr()) {
			return netip.Prefix{}, fmt.Errorf("client %q is not an address such as 192.0.2.5/24", client)
		}
		return p, nil
	}

	addr, err := parseHost(client, "client")
	if err != nil {
		return netip.Prefix{}, err
	}

	bits, err := parseMask(addr, mask)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, bits), nil
}

func parseMask(addr netip.Addr, mask string) (int, error) {
	switch {
	case mask == "" && addr.Is4():
		return classBits(addr), nil
	case mask == "":
		return 0, errors.New("an IPv6 address needs its prefix length in the field of the mask, such as 64")
	case addr.Is4() && strings.Contains(mask, "."):
		return dottedBits(mask)
	}
	n, err := parseInt(mask, 1, addr.BitLen())
	if err != nil {
		return 0, fmt.Errorf("mask %w, or dotted", err)
	}
	return n, nil
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

func dottedBits(mask string) (int, error) {
	a, err := netip.ParseAddr(mask)
	if err == nil && a.Is4() {
		b := a.As4()
		v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		for bits := 1; bits <= 32; bits++ {
			if v == ^uint32(0)<<(32-bits) {
				return bits, nil
			}
		}
	}
	return 0, fmt.Errorf("mask %q is not dotted (255.255.255.0) nor a length (24)", mask)
}

// parseHost reads the address of one host; "" is none.
func parseHost(text, what string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !isHost(a) {
		return netip.Addr{}, fmt.Errorf("%s %q is not the address of a host (IPv6 in brackets)", what, text)
	}
	return a, nil
}

func isHost(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6() &&
		a.Zone() == "" && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// withTail adds what may follow the seven fields.
func withTail(line IP, tail []string) (IP, error) {
	servers := slices.IndexFunc(tail, func(s string) bool { return strings.ContainsAny(s, ".:") })
	if servers != 0 && servers != 1 || servers == 1 && tail[0] != "" {
		return withMTU(line, tail)
	}

	if len(tail) > 3 {
		return IP{}, errors.New("after <dns>:<dns>:<ntp> nothing may follow")
	}
	for i, text := range tail {
		a, err := parseHost(text, "name or time server")
		if err != nil {
			return IP{}, err
		}
		switch {
		case !a.IsValid():
		case i == 2: // the kernel's time server: nothing here sets the clock
		default:
			line.DNS = append(line.DNS, a)
		}
	}

	return line, nil
}

// withMTU adds [<mtu>[:<mac>]]; the colons of the MAC have been cut.
func withMTU(line IP, tail []string) (IP, error) {
	if len(tail) == 0 {
		return line, nil
	}
	if tail[0] != "" {
		n, err := parseInt(tail[0], minMTU, maxMTU)
		if err != nil {
			return IP{}, fmt.Errorf("MTU %w", err)
		}
		line.MTU = n
	}

	if mac := strings.Join(tail[1:], ":"); mac != "" {
		var err error
		if line.MAC, err = ParseMAC(mac); err != nil {
			return IP{}, err
		}
	}

	return line, nil
}

// check tells what does not fit together in one line.
func (line IP) check() error {
	static := line.Address.IsValid()
	for _, m := range line.Methods {
		if static != (m == Static) {
			return fmt.Errorf("method %s and the address %s do not go together", m, line.Address)
		}
	}

	a := line.Address.Addr()
	for _, other := range []netip.Addr{line.Peer, line.Gateway} {
		if static && other.IsValid() && other.Is4() != a.Is4() {
			return fmt.Errorf("%s and %s are of different IP versions", a, other)
		}
		if other == a && static {
			return fmt.Errorf("%s is this machine and the other side", a)
		}
	}

	return nil
}

// isHostName is RFC 1123, section 2.1; "" is no name.
func isHostName(s string) bool {
	return len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}
