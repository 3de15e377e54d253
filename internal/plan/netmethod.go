package plan

import (
	"slices"
	"strings"
)

// methodWords are the words of ip=, by the names that dracut, the kernel,
// initramfs-tools, systemd-network-generator and nm-initrd-generator have
// for them.
var methodWords = map[string]Method{
	"dhcp": DHCP, "on": DHCP, "any": DHCP, "single-dhcp": DHCP, "dhcp4": DHCP, "auto": DHCP,
	"dhcp6": DHCP6, "auto6": Auto6, "either6": Either6, "link6": Link6, "link-local": Link4,
	"bootp": DHCP, "rarp": DHCP, "both": DHCP, "ibft": DHCP,
	"none": Off, "off": Off, "done": Off, "static": Static,
}

// hasMethod tells whether the first of the words is a method.
func hasMethod(words string) bool {
	first, _, _ := strings.Cut(words, ",")
	_, known := methodWords[first]
	return known
}

// methods adds a word, or several with commas. Without one, an address is
// static and a link without address asks DHCP, as the kernel has it. lost
// tells that an address stood there and was wrong: then nothing is static.
func (p *netParser) methods(line *IP, words string, lost bool) {
	var named []Method
	for i, word := range strings.Split(words, ",") {
		m, known := methodWords[word]
		switch {
		case word == "":
			continue
		case i > 0 && named != nil && strings.Trim(word, "0123456789") == "":
			// nfsroot.rst: dhcp,<id-type>,<id>
			p.drop("a client identifier (%s) is not sent; DHCP is asked without", word)
			p.set(line, named, lost)
			return
		case !known && line.Link != "":
			p.drop("%q is not a method of link %s: want dhcp, auto, dhcp6, auto6, either6, link6, link-local, none or off", word, line.Link)
			continue
		case !known:
			p.drop("%q is not a method: want dhcp, auto, dhcp6, auto6, either6, link6, link-local, none or off", word)
			continue
		case word == "bootp" || word == "rarp" || word == "both":
			p.drop("%s is not supported; dhcp is used", word)
		case word == "ibft":
			p.drop("the firmware's iBFT is not read; dhcp is used")
		}
		named = append(named, m)
	}
	p.set(line, named, lost)
}

// set makes the methods that were named fit the address.
func (p *netParser) set(line *IP, named []Method, lost bool) {
	static := line.Address.IsValid()
	add := func(m Method) {
		if !slices.Contains(line.Methods, m) {
			line.Methods = append(line.Methods, m)
		}
	}
	if static {
		add(Static)
	}

	for _, m := range named {
		switch {
		case (m == Static || m == Off) && lost:
			add(DHCP)
		case m == Static && !static:
			p.drop("\"static\" needs an address; dhcp is used")
			add(DHCP)
		case m == Static: // as every address is
		case m == Off: // below
		default:
			add(m)
		}
	}

	switch {
	case len(line.Methods) > 0:
	case slices.Contains(named, Off):
		add(Off)
	default:
		add(DHCP)
	}
}
