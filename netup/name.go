package netup

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
)

// called tells whether a name in the plan means the device: its name now,
// the name it had before ifname=, or one that udev would give it, by its
// place or by its hardware address (systemd.net-naming-scheme(7)).
func called(d Device, name string) bool {
	if d.Name == name || slices.Contains(d.Place.Names, name) || name == "enx"+hex.EncodeToString(hardware(d)) {
		return true
	}
	was, _ := parseNote(d.Alias)
	return was.name == name
}

// rename gives links the names of ifname=. A link that has a name meant
// for another gets out of its way first.
func (n *network) rename(devices []Device) (changed bool) {
	for _, rule := range n.settings.Names {
		mac := rule.MAC.HardwareAddr()
		for i := range devices {
			d := &devices[i]
			if n.renamed[d.Index] || !bytes.Equal(hardware(*d), mac) || d.Name == rule.Name || !isHardware(*d) {
				continue
			}
			n.renamed[d.Index] = true // once: a name the kernel refuses stays refused
			if other := find(devices, rule.Name); other != nil {
				n.moveTo(other, parked(*other))
			}
			n.moveTo(d, rule.Name)
			changed = true
		}
	}
	return changed
}

// parked is the name of a link whose own is not free yet.
func parked(d Device) string { return fmt.Sprintf("ren%d", d.Index) }

// hardware is the address the link came with, whatever MAC it has now.
func hardware(d Device) []byte {
	if len(d.PermMAC) > 0 {
		return d.PermMAC
	}
	return d.MAC
}

// moveTo renames one link; it must be down (dev_change_name in
// net/core/dev.c, before 6.2).
func (n *network) moveTo(d *Device, name string) {
	l := &link{dev: *d}
	n.note(l)
	d.Alias = l.dev.Alias
	if d.Up {
		n.do(l, SetDown{d.Index})
	}
	n.do(l, SetName{d.Index, name})
	d.Name = name
}
