package hosttab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An Array is one of md that runs on this machine.
type Array struct {
	Device string // "md127"
	Level  string // "raid1", as sysfs has it
}

// Arrays lists all.
func (h Host) Arrays() (all []Array) {
	dirs, _ := filepath.Glob(filepath.Join(h.path("/sys/block"), "md*"))
	for _, dir := range dirs {
		if a, ok := h.array(filepath.Base(dir)); ok {
			all = append(all, a)
		}
	}
	return all
}

// ArraysOf lists those that the volume with a UUID lies on, all the way down.
func (h Host) ArraysOf(uuid string) (all []Array) {
	device, err := h.device("/dev/disk/by-uuid/" + strings.ToLower(uuid))
	if err != nil {
		return nil
	}
	var descend func(name string, depth int)
	descend = func(name string, depth int) {
		dir, err := filepath.EvalSymlinks(h.path("/sys/class/block", name))
		if err != nil || depth > 8 { // no real stack is so deep
			return
		}
		if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
			descend(filepath.Base(filepath.Dir(dir)), depth+1)
		}
		if a, ok := h.array(name); ok && !slices.Contains(all, a) {
			all = append(all, a)
		}
		below, _ := os.ReadDir(filepath.Join(dir, "slaves"))
		for _, s := range below {
			descend(s.Name(), depth+1)
		}
	}
	descend(filepath.Base(device), 0)
	return all
}

func (h Host) array(name string) (Array, bool) {
	level, err := os.ReadFile(h.path("/sys/block", name, "md/level"))
	text := strings.TrimSpace(string(level))
	return Array{name, text}, err == nil && text != ""
}
