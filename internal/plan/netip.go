package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const ipForms = "want dhcp, <link>:<method>[:<mtu>[:<mac>]] or <client>:[<peer>]:<gateway>:<mask>:<host>:<link>:<method>"

// methods are the words of ip=, by the names that dracut, the kernel and
// initramfs-tools have for them.
var methods = map[string]Method{
	"dhcp": DHCP, "on": DHCP, "any": DHCP, "single-dhcp": DHCP, "dhcp4": DHCP,
	"dhcp6": DHCP6, "auto6": Auto6, "either6": Either6, "link6": Link6,
	"none": Static, "off": Static, "static": Static,
}

func (p *netParser) ip(a Arg) error {
	if len(p.net.IPs) == maxIPs {
		return fmt.Errorf("more than %d ip= options", maxIPs)
	}
	line, err := parseIP(a.Value)
	if err != nil {
		return err
	}
	p.net.IPs = append(p.net.IPs, line)
	return nil
}

func parseIP(value string) (IP, error) {
	f, err := splitFields(value)
	if err != nil {
		return IP{}, err
	}
	switch {
	case len(f) == 1:
		return parseShortIP(f[0])
	case isMethods(f[1]) && f[0] != "":
		return parseLinkIP(f)
	}
	return parseFullIP(f)
}

// splitFields cuts at colons, but not inside the brackets of an IPv6
// address.
func splitFields(value string) ([]string, error) {
	var fields []string
	for {
		field, rest, more := strings.Cut(value, ":")
		if strings.HasPrefix(value, "[") {
			end := strings.IndexByte(value, ']')
			if end < 0 {
				return nil, errors.New("bracket [ without ]")
			}

			field, rest, more = value[1:end], value[end+1:], false
			if mask, ok := strings.CutPrefix(rest, "/"); ok {
				mask, rest, more = strings.Cut(mask, ":")
				field += "/" + mask
			} else if rest != "" {
				if rest, more = strings.CutPrefix(rest, ":"); !more {
					return nil, errors.New("after ] a colon or nothing must follow")
				}
			}
		}

		fields = append(fields, field)
		if !more {
			return fields, nil
		}

		value = rest
	}
}

// parseShortIP reads ip=dhcp, ip=off and the kernel's ip=192.0.2.5.
func parseShortIP(word string) (IP, error) {
	if word == "" {
		return IP{}, errors.New("ip= is empty: " + ipForms)
	}
	if strings.ContainsAny(word, ".:/") {
		address, err := parseClient(word, "")
		return IP{Methods: []Method{Static}, Address: address}, err
	}
	return withMethods(IP{}, word)
}

// parseLinkIP reads <link>:<method>[:<mtu>[:<mac>]].
func parseLinkIP(f []string) (IP, error) {
	if !isLinkName(f[0]) {
		return IP{}, badName(f[0])
	}
	line, err := withMethods(IP{Link: f[0]}, f[1])
	if err != nil {
		return IP{}, err
	}
	return withMTU(line, f[2:])
}

// parseFullIP reads <client>:[<peer>]:<gateway>:<mask>:<host>:<link>:
// <method> and what may follow: [<mtu>][:<mac>], or the kernel's
// <dns>[:<dns>[:<ntp>]].
func parseFullIP(f []string) (IP, error) {
	tail := []string{}
	if len(f) > 7 {
		f, tail = f[:7], f[7:]
	}
	f = append(f, make([]string, 7-len(f))...)
	line := IP{Hostname: f[4], Link: f[5]}
	if line.Link != "" && !isLinkName(line.Link) {
		return IP{}, badName(line.Link)
	}

	if !isHostName(line.Hostname) {
		return IP{}, fmt.Errorf("%q is not a host name", line.Hostname)
	}
	var err error
	if f[0] != "" {
		if line.Address, err = parseClient(f[0], f[3]); err != nil {
			return IP{}, err
		}
	}

	for _, h := range []struct {
		to         *netip.Addr
		text, what string
	}{{&line.Peer, f[1], "peer"}, {&line.Gateway, f[2], "gateway"}} {
		if *h.to, err = parseHost(h.text, h.what); err != nil {
			return IP{}, err
		}
	}

	if line, err = withMethods(line, f[6]); err != nil {
		return IP{}, err
	}
	if line, err = withTail(line, tail); err != nil {
		return IP{}, err
	}

	return line, line.check()
}

// withMethods adds a word, or several with commas, to the line. An empty
// word is static when there is an address, else DHCP, as the kernel has it.
func withMethods(line IP, words string) (IP, error) {
	if words == "" {
		words = "dhcp"
		if line.Address.IsValid() {
			words = "none"
		}
	}
	for word := range strings.SplitSeq(words, ",") {
		m, known := methods[word]
		switch {
		case word == "bootp" || word == "rarp" || word == "both":
			return IP{}, fmt.Errorf("%s is not supported, use dhcp", word)
		case word == "ibft":
			return IP{}, errors.New("ibft is not there yet: name the address or dhcp")
		case !known:
			return IP{}, fmt.Errorf("%q is not a method: %s", word, ipForms)
		case m == Static && !line.Address.IsValid():
			m = Off
		}
		if !slices.Contains(line.Methods, m) {
			line.Methods = append(line.Methods, m)
		}
	}
	return line, line.check()
}

func isMethods(words string) bool {
	first, _, _ := strings.Cut(words, ",")
	_, known := methods[first]
	return known || first == "bootp" || first == "rarp" || first == "both" || first == "ibft"
}
