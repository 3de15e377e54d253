package netup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxOnboard is the largest index of an on-board device that udev believes:
// some firmware reports rubbish (VMware: 2^24-1).
const maxOnboard = 1<<16 - 1

// A udevNamer makes the names of systemd.net-naming-scheme(7) for one
// device, of all versions of the scheme: which one the host has is not known
// here.
type udevNamer struct {
	sys, dir string // sysfs, and the device's folder in it
	prefix   string // "en", "ib"
	names    []string
}

// udevNames returns the names of the device with this folder in sysfs; its
// parent is device.
func udevNames(sys, dir, device string) []string {
	u := &udevNamer{sys: sys, dir: dir, prefix: "en"}
	if readNumber(dir, "type") == 32 { // ARPHRD_INFINIBAND
		u.prefix = "ib"
	}

	parent := device
	if strings.HasPrefix(filepath.Base(parent), "virtio") {
		parent = filepath.Dir(parent)
	}
	switch base := filepath.Base(parent); {
	case isPCI(base):
		u.pci(parent)
	case strings.HasPrefix(base, "bcma"):
		u.bcma(parent)
	case strings.Contains(base, "-") && strings.Contains(base, ":"):
		u.usb(parent)
	default:
		u.other(parent)
	}

	u.devicetree(device)
	return u.names
}

func isPCI(s string) bool { _, ok := parsePCI(s); return ok }

func (u *udevNamer) add(format string, args ...any) {
	if name := u.prefix + fmt.Sprintf(format, args...); !slices.Contains(u.names, name) {
		u.names = append(u.names, name)
	}
}

// ports are what tells several ports of one function apart: the port's name
// as the driver has it, else its number; none of both is "". A driver that
// has learnt to name its port (bnxt_en, mlx5_core, nfp) changes the names of
// its links, so the one by number stays known.
func (u *udevNamer) ports() []string {
	var out []string
	if name := readText(u.dir, "phys_port_name"); name != "" {
		var pf, vf int
		if n, _ := fmt.Sscanf(name, "pf%dvf%d", &pf, &vf); n == 2 { // a VF's representor
			out = append(out, fmt.Sprintf("r%d", vf))
		}
		out = append(out, "n"+name)
	}

	number := readNumber(u.dir, "dev_port")
	if number <= 0 && u.prefix == "ib" {
		number = readNumber(u.dir, "dev_id") // where older kernels have it
	}
	if number > 0 {
		return append(out, fmt.Sprintf("d%d", number))
	}
	return append(out, "")
}

// pci names a link whose parent is a PCI device: eno by the firmware's
// index, ens by the slot, enp by the place on the bus. A virtual function is
// named by its physical one and its number.
func (u *udevNamer) pci(device string) {
	suffix := ""
	if physical, n, ok := virtualFunction(device); ok {
		device, suffix = physical, fmt.Sprintf("v%d", n)
	}
	for _, file := range []string{"acpi_index", "index"} {
		if n := readNumber(device, file); n >= 0 && n <= maxOnboard {
			for _, port := range u.ports() {
				u.add("o%d%s%s", n, port, suffix)
			}
			break
		}
	}
	u.pciSlot(device, suffix)
}

// virtualFunction returns the physical function of a virtual one, and which
// of its functions that is.
func virtualFunction(device string) (physical string, n int, ok bool) {
	physical, err := filepath.EvalSymlinks(filepath.Join(device, "physfn"))
	if err != nil {
		return "", 0, false
	}
	links, err := filepath.Glob(filepath.Join(physical, "virtfn*"))
	if err != nil {
		return "", 0, false
	}
	for _, l := range links {
		if to, err := filepath.EvalSymlinks(l); err != nil || to != device {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(l), "virtfn")); err == nil {
			return physical, n, true
		}
	}
	return "", 0, false
}

// pciSlot adds the names by slot and by place on the bus.
func (u *udevNamer) pciSlot(device, suffix string) {
	at, ok := parsePCI(filepath.Base(device))
	if !ok {
		return
	}
	domain := ""
	if at.domain > 0 {
		domain = fmt.Sprintf("P%d", at.domain)
	}

	functions := []string{""}
	if at.function > 0 || multifunction(device) {
		functions[0] = fmt.Sprintf("f%d", at.function)
	}
	if at.slot > 0 && readNumber(device, "ari_enabled") > 0 { // slot and function are one number
		functions = append(functions, fmt.Sprintf("f%d", at.slot*8+at.function))
	}

	for _, f := range functions {
		for _, port := range u.ports() {
			if n, global := slotOf(u.sys, device); n > 0 && global {
				u.add("s%d%s%s%s", n, f, port, suffix)
			} else if n > 0 {
				u.add("%ss%d%s%s%s", domain, n, f, port, suffix)
			}
			u.add("%sp%ds%d%s%s%s", domain, at.bus, at.slot, f, port, suffix)
		}
	}
}

// slotOf returns the number of the slot that the device, or a bridge above
// it, stands in, or 0: the firmware's (ACPI _SUN), else that of the hot-plug
// driver. On s390 slots are numbered over all domains.
func slotOf(sys, device string) (n int, global bool) {
	if id := readNumber(device, "function_id"); id > 0 {
		if readText(sys, "bus/pci/slots", fmt.Sprintf("%08x", id), "address") != "" {
			return id, true
		}
	}
	for _, d := range []string{device, filepath.Dir(device)} {
		if n := readNumber(d, "firmware_node/sun"); n > 0 {
			return n, false
		}
	}

	slots, err := filepath.Glob(filepath.Join(sys, "bus/pci/slots/*/address"))
	if err != nil {
		return 0, false
	}
	for d := device; isPCI(filepath.Base(d)); d = filepath.Dir(d) {
		for _, s := range slots {
			address := readText(s)
			if address == "" || !strings.HasPrefix(filepath.Base(d), address) {
				continue
			}
			if n, err := strconv.Atoi(filepath.Base(filepath.Dir(s))); err == nil && n > 0 {
				return n, false
			}
		}
	}
	return 0, false
}
