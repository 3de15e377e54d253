package hosttab

import (
	"slices"

	"latchkey/internal/mapping"
)

// A Multipath is a disk that this machine reaches in several ways.
type Multipath struct {
	Name string // of its mapping
	WWID string // what multipathd knows it by
}

// Multipaths lists all, by what the kernel says of device-mapper.
func (h Host) Multipaths() (all []Multipath) {
	for _, device := range h.mappings() {
		if m, ok := h.multipath(device); ok {
			all = append(all, m)
		}
	}
	return all
}

// MultipathsOf lists those that the volume with a UUID lies on, all the way
// down.
func (h Host) MultipathsOf(uuid string) (all []Multipath) {
	h.below(uuid, func(name string) {
		if m, ok := h.multipath(name); ok && !slices.Contains(all, m) {
			all = append(all, m)
		}
	})
	return all
}

func (h Host) multipath(device string) (Multipath, bool) {
	wwid, partition, ok := mapping.SplitMultipath(h.dm(device, "uuid"))
	return Multipath{Name: h.dm(device, "name"), WWID: wwid}, ok && partition == 0
}
