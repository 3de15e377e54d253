package initramfs

import (
	"fmt"
	"slices"

	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
)

// arrayModule is the module that runs arrays of a level, as sysfs names it;
// "" if the boot runs none of that level.
func arrayModule(level string) string {
	switch {
	case slices.Contains([]string{"raid4", "raid5", "raid6"}, level):
		return "raid456"
	case slices.Contains([]string{"raid0", "raid1", "raid10"}, level):
		return level
	}
	return ""
}

// forArrays are the modules that run the arrays of this machine.
func forArrays(host hosttab.Host) (names []string) {
	for _, a := range host.Arrays() {
		if name := arrayModule(a.Level); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// forMirror are the modules that map the root of this machine, if it is a
// RAID of LVM.
func forMirror(host hosttab.Host) []string {
	if r, err := host.LogicalRoot(); err == nil && r != nil && r.RAID {
		return []string{"dm_raid", "raid1"}
	}
	return nil
}

// forCaches are the modules of bcache, if this machine has a cache.
func forCaches(host hosttab.Host) []string {
	if host.HasCaches() {
		return []string{"bcache"}
	}
	return nil
}

// arrayWarnings names volumes of the plan that lie on an array of this
// machine which the image cannot run.
func (k *kernel) arrayWarnings(p *plan.Plan, index *plan.Modules, host hosttab.Host) (list []string) {
	for _, v := range p.Volumes {
		for _, a := range host.ArraysOf(v.UUID) {
			switch name := arrayModule(a.Level); {
			case name == "":
				list = append(list, fmt.Sprintf("volume %s lies on the array /dev/%s of the level %s, which needs mdadm: this image cannot open it", v.Name, a.Device, a.Level))
			case index.Find(name) < 0 && !k.builtin[name]:
				list = append(list, fmt.Sprintf("volume %s lies on the array /dev/%s (%s), and the module %s is not in the image: write modules: {add: [%s]} in latchkey.yaml", v.Name, a.Device, a.Level, name, name))
			}
		}
	}
	return list
}
