package hosttab

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/rootdir"
)

// A Link is a network link of this machine that a boot can use: one that a
// driver serves, not one that programs made.
type Link struct {
	Name, MAC string
	Carrier   bool     // a cable is in, and the link is up
	Drivers   []string // modules of it and of what it is behind
}

// Links lists them by name.
func (h Host) Links() (all []Link) {
	entries, _ := os.ReadDir(h.path("/sys/class/net"))
	for _, e := range entries {
		dir := h.path("/sys/class/net", e.Name())
		if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
			continue
		}
		all = append(all, Link{
			Name: e.Name(), MAC: line(filepath.Join(dir, "address")),
			Carrier: line(filepath.Join(dir, "carrier")) == "1", Drivers: h.drivers(filepath.Join(dir, "device")),
		})
	}
	return all
}

// HasVolume tells whether a device of this machine has a UUID.
func (h Host) HasVolume(uuid string) bool { return h.exists("/dev/disk/by-uuid/" + uuid) }

// DriversOf lists the modules of the disks that the volume with a UUID lies
// on, and of the buses before them.
func (h Host) DriversOf(uuid string) []string {
	found := map[string]bool{}
	h.below(uuid, func(name string) {
		for _, d := range h.drivers(h.path("/sys/class/block", name)) {
			found[d] = true
		}
	})
	return slices.Sorted(maps.Keys(found))
}

// below visits the device with the UUID of a volume, and all that it lies on.
func (h Host) below(uuid string, visit func(name string)) {
	device, err := h.device("/dev/disk/by-uuid/" + strings.ToLower(uuid))
	if err != nil {
		return
	}
	var descend func(name string, depth int)
	descend = func(name string, depth int) {
		dir, err := filepath.EvalSymlinks(h.path("/sys/class/block", name))
		if err != nil || depth > 8 { // no real stack is so deep
			return
		}
		visit(name)
		if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
			descend(filepath.Base(filepath.Dir(dir)), depth+1)
		}
		below, _ := os.ReadDir(filepath.Join(dir, "slaves"))
		for _, s := range below {
			descend(s.Name(), depth+1)
		}
	}
	descend(filepath.Base(device), 0)
}

// drivers follows a device of sysfs up to the root of the tree; what is
// built into the kernel has no link "module" behind its driver, or one to a
// folder without initstate (kernel/module/sysfs.c), and is left out.
func (h Host) drivers(dir string) (names []string) {
	dir, err := filepath.EvalSymlinks(rootdir.Follow(h.Root, dir))
	top := h.path("/sys/devices")
	for ; err == nil && strings.HasPrefix(dir, top+"/"); dir = filepath.Dir(dir) {
		module, err := filepath.EvalSymlinks(rootdir.Follow(h.Root, filepath.Join(dir, "driver/module")))
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(module, "initstate")); err == nil && !slices.Contains(names, filepath.Base(module)) {
			names = append(names, filepath.Base(module))
		}
	}
	return names
}

// A RootFS is what the running system has as "/".
type RootFS struct {
	Source, Type string
	Volume       string // the UUID of the LUKS volume whose mapping it is, or ""
	Mapping      string // the mapping's name, or ""
}

// RunningRoot says what is mounted on "/".
func (h Host) RunningRoot() (r RootFS, err error) {
	if r.Source, r.Type, err = h.rootSource(); err != nil || r.Source == "" {
		return r, err
	}
	path, err := h.device(r.Source)
	if err != nil {
		return r, nil // an overlay, a network: no device
	}
	name := filepath.Base(path)
	r.Mapping, r.Volume = h.dm(name, "name"), cryptUUID(h.dm(name, "uuid"))
	return r, nil
}

// cryptUUID is the volume of a mapping by its device-mapper UUID, "" if that
// is none of LUKS.
func cryptUUID(uuid string) string {
	rest, ok := strings.CutPrefix(uuid, "CRYPT-LUKS")
	if !ok || len(rest) < 2+32 {
		return ""
	}
	x := rest[2 : 2+32] // behind the version and a dash
	return strings.Join([]string{x[:8], x[8:12], x[12:16], x[16:20], x[20:]}, "-")
}

func line(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// mappings are the devices of device-mapper, as the kernel names them.
func (h Host) mappings() (names []string) {
	dirs, _ := filepath.Glob(filepath.Join(h.path("/sys/class/block"), "dm-*"))
	for _, d := range dirs {
		names = append(names, filepath.Base(d))
	}
	return names
}
