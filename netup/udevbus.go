package netup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// usb names a link by its chain of ports: 1-2.3:1.0 is u2u3, and the
// configuration and the interface are told if they are not the first.
func (u *udevNamer) usb(parent string) {
	_, chain, _ := strings.Cut(filepath.Base(parent), "-")
	ports, rest, _ := strings.Cut(chain, ":")
	config, iface, ok := strings.Cut(rest, ".")
	if !ok {
		return
	}

	suffix := "u" + strings.ReplaceAll(ports, ".", "u")
	if config != "1" {
		suffix += "c" + config
	}
	if iface != "0" {
		suffix += "i" + iface
	}

	if device, ok := pciAbove(parent); ok {
		u.pciSlot(device, suffix)
		return
	}
	u.add("%s", suffix)
}

// bcma names a link of a Broadcom chip by its core.
func (u *udevNamer) bcma(parent string) {
	var bus, core int
	device, ok := pciAbove(parent)
	if n, _ := fmt.Sscanf(filepath.Base(parent), "bcma%d:%d", &bus, &core); n != 2 || !ok {
		return
	}
	suffix := ""
	if core > 0 {
		suffix = fmt.Sprintf("b%d", core)
	}
	u.pciSlot(device, suffix)
}

// other names links of buses without PCI.
func (u *udevNamer) other(parent string) {
	base := filepath.Base(parent)
	path := strings.TrimPrefix(parent, filepath.Join(u.sys, "devices")+"/")
	first, rest, _ := strings.Cut(path, "/")
	first2, _, _ := strings.Cut(rest, "/")
	var n int
	switch {
	case strings.HasPrefix(first, "vif-"): // Xen
		if n, err := strconv.Atoi(first[len("vif-"):]); err == nil {
			u.add("X%d", n)
		}

	case first == "vio" && len(first2) == 8: // IBM POWER: the last four digits are the slot
		if n, err := strconv.ParseUint(first2[4:], 16, 16); err == nil {
			u.add("v%d", n)
		}

	case first == "platform":
		u.acpi(first2)
	case strings.HasPrefix(base, "netdevsim"):
		if got, _ := fmt.Sscanf(base, "netdevsim%d", &n); got == 1 {
			u.add("i%dn%s", n, readText(u.dir, "phys_port_name"))
		}

	case (len(base) == 8 || len(base) == 9) && strings.Count(base, ".") == 2: // s390: 0.0.0600
		id := strings.TrimLeft(base, ".0")
		if id == "" {
			id = "0"
		}
		u.add("c%s", id)
	}
}

// acpi names a platform device of arm64 by vendor, model and instance:
// HISI00C2:00 is ahisic2i0.
func (u *udevNamer) acpi(name string) {
	id, instance, ok := strings.Cut(name, ":")
	if !ok || len(id) != 7 && len(id) != 8 || len(instance) != 2 {
		return
	}
	vendor, model := id[:len(id)-4], id[len(id)-4:]
	m, err := strconv.ParseUint(model, 16, 16)
	i, err2 := strconv.ParseUint(instance, 16, 8)
	if err != nil || err2 != nil || strings.ToUpper(vendor) != vendor {
		return
	}
	u.add("a%s%xi%d", strings.ToLower(vendor), m, i)
}

// devicetree names a link by the alias that the board's device tree gives
// it or its parent: ethernet0 is end0.
func (u *udevNamer) devicetree(device string) {
	if u.prefix != "en" {
		return
	}
	base, err := filepath.EvalSymlinks(filepath.Join(u.sys, "firmware/devicetree/base"))
	if err != nil {
		return
	}
	for _, dir := range []string{u.dir, device} {
		node, err := filepath.EvalSymlinks(filepath.Join(dir, "of_node"))
		if err != nil {
			continue
		}
		aliases, err := filepath.Glob(filepath.Join(base, "aliases/ethernet*"))
		if err != nil {
			return
		}
		for _, a := range aliases {
			path := strings.TrimRight(readText(a), "\x00") // a C string
			if filepath.Join(base, path) != node {
				continue
			}
			n, err := strconv.Atoi("0" + strings.TrimPrefix(filepath.Base(a), "ethernet"))
			if err == nil {
				u.add("d%d", n)
			}
			return
		}
		return
	}
}
