package netup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A pciPlace is a PCI address: domain:bus:slot.function, in hex.
type pciPlace struct{ domain, bus, slot, function int }

func parsePCI(s string) (p pciPlace, ok bool) {
	if len(s) != len("0000:00:00.0") || s[4] != ':' || s[7] != ':' || s[10] != '.' {
		return p, false
	}
	for _, part := range []struct {
		to   *int
		text string
	}{{&p.domain, s[:4]}, {&p.bus, s[5:7]}, {&p.slot, s[8:10]}, {&p.function, s[11:]}} {
		n, err := strconv.ParseUint(part.text, 16, 16)
		if err != nil {
			return p, false
		}
		*part.to = int(n)
	}
	return p, true
}

// altNames are the names that udev would give a link: owners write them
// on the command line (ip=enp1s0:dhcp), and this init has no udev. They are
// made of sysfs as systemd.net-naming-scheme(7) says: eno by the firmware's
// index, ens by the hot-plug slot, enp by the place on the PCI bus.
func altNames(sys, link string) []string {
	device, err := filepath.EvalSymlinks(filepath.Join(sys, "class/net", link, "device"))
	if err != nil {
		return nil
	}

	if strings.HasPrefix(filepath.Base(device), "virtio") {
		device = filepath.Dir(device)
	}
	address := filepath.Base(device)
	place, ok := parsePCI(address)
	if !ok {
		return nil
	}

	var names []string
	for _, file := range []string{"acpi_index", "index"} {
		if n := readNumber(filepath.Join(device, file)); n > 0 {
			names = append(names, fmt.Sprintf("eno%d", n))
			break
		}
	}

	tail := ""
	if place.function > 0 || multifunction(device) {
		tail = fmt.Sprintf("f%d", place.function)
	}
	if port := readNumber(filepath.Join(sys, "class/net", link, "dev_port")); port > 0 {
		tail += fmt.Sprintf("d%d", port)
	}

	if n := hotplugSlot(sys, address[:len("0000:00:00")]); n > 0 {
		names = append(names, fmt.Sprintf("ens%d%s", n, tail))
	}
	head := "en"
	if place.domain > 0 {
		head += fmt.Sprintf("P%d", place.domain)
	}

	return append(names, fmt.Sprintf("%sp%ds%d%s", head, place.bus, place.slot, tail))
}

// multifunction tells whether the card has several functions: bit 7 of the
// header type, PCI Local Bus 3.0, section 6.2.1.
func multifunction(device string) bool {
	config, err := os.ReadFile(filepath.Join(device, "config"))
	return err == nil && len(config) > 14 && config[14]&0x80 != 0
}

// hotplugSlot returns the number of the slot with this address, without
// the function, or 0.
func hotplugSlot(sys, address string) int {
	slots, err := filepath.Glob(filepath.Join(sys, "bus/pci/slots/*/address"))
	if err != nil {
		return 0
	}
	for _, s := range slots {
		text, err := os.ReadFile(s)
		if err == nil && strings.TrimSpace(string(text)) == address {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(s)))
			return n
		}
	}
	return 0
}

func readNumber(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}
