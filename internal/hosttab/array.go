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
	h.below(uuid, func(name string) {
		if a, ok := h.array(name); ok && !slices.Contains(all, a) {
			all = append(all, a)
		}
	})
	return all
}

func (h Host) array(name string) (Array, bool) {
	level, err := os.ReadFile(h.path("/sys/block", name, "md/level"))
	text := strings.TrimSpace(string(level))
	return Array{name, text}, err == nil && text != ""
}
