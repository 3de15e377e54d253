package netup

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// placeOf reads what a device is, and what udev would call it: owners
// write such names on the command line (ip=enp1s0:dhcp), and this init has
// no udev.
func placeOf(sys, link string) Place {
	dir := filepath.Join(sys, "class/net", link)
	p := Place{Radio: isRadio(dir)}
	device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil {
		return p
	}

	p.Bus = true
	p.Names = udevNames(sys, dir, device)
	return p
}

// isRadio tells whether the device is one of cfg80211 or of the WWAN
// subsystem: their Ethernet comes to life only after an association.
func isRadio(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "phy80211")); err == nil {
		return true
	}
	uevent, err := os.ReadFile(filepath.Join(dir, "uevent"))
	if err != nil {
		return false
	}
	for lines := bufio.NewScanner(bytes.NewReader(uevent)); lines.Scan(); {
		if line := lines.Text(); line == "DEVTYPE=wlan" || line == "DEVTYPE=wwan" {
			return true
		}
	}
	return false
}

// A pciPlace is a PCI address: domain:bus:slot.function, in hex.
type pciPlace struct{ domain, bus, slot, function int }

// parsePCI reads an address. Domains made by Hyper-V and VMD have more than
// four digits.
func parsePCI(s string) (p pciPlace, ok bool) {
	domain, rest, ok := strings.Cut(s, ":")
	if !ok || len(domain) < 4 || len(domain) > 8 || len(rest) != len("00:00.0") || rest[2] != ':' || rest[5] != '.' {
		return p, false
	}
	for _, part := range []struct {
		to   *int
		text string
	}{{&p.domain, domain}, {&p.bus, rest[:2]}, {&p.slot, rest[3:5]}, {&p.function, rest[6:]}} {
		n, err := strconv.ParseUint(part.text, 16, 32)
		if err != nil {
			return p, false
		}
		*part.to = int(n)
	}
	return p, true
}

// pciAbove returns the nearest folder above path, or path itself, that is a
// PCI device.
func pciAbove(path string) (device string, ok bool) {
	for ; len(path) > 1; path = filepath.Dir(path) {
		if _, ok := parsePCI(filepath.Base(path)); ok {
			return path, true
		}
	}
	return "", false
}

// multifunction tells whether the card has several functions: bit 7 of the
// header type, PCI Local Bus 3.0, section 6.2.1.
func multifunction(device string) bool {
	config, err := os.ReadFile(filepath.Join(device, "config"))
	return err == nil && len(config) > 14 && config[14]&0x80 != 0
}

func readText(path ...string) string {
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// readNumber reads a number of sysfs, decimal or 0x…; one that is not there
// is -1.
func readNumber(path ...string) int {
	n, err := strconv.ParseInt(readText(path...), 0, 64)
	if err != nil {
		return -1
	}
	return int(n)
}
