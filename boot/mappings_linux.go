package boot

import (
	"os"
	"path/filepath"
	"strings"

	"latchkey/internal/mapping"
	dm "latchkey/unlock/dm/control"
	md "latchkey/unlock/md/control"
)

// Mappings implements System by what sysfs says of device-mapper and md.
func (k *Kernel) Mappings() (map[string]Mapping, error) { return mappings("/sys") }

func mappings(sys string) (map[string]Mapping, error) {
	found := map[string]Mapping{}
	for _, pattern := range []string{"dm-*", "md*"} {
		dirs, err := filepath.Glob(filepath.Join(sys, "class/block", pattern))
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			name, uuid := nameOf(dir), ""
			if !mapping.IsArray(name) {
				uuid, err = word(dir + "/dm/uuid")
			}
			dev, devErr := word(dir + "/dev")
			if name == "" || err != nil || devErr != nil {
				continue // removed while we look, or the partition of an array
			}
			found[name] = Mapping{uuid, dev, below(dir)}
		}
	}
	return found, nil
}

// nameOf is the name of a mapping, or the path of an array that runs; "" of
// anything else.
func nameOf(dir string) string {
	if name, err := word(dir + "/dm/name"); err == nil {
		return name
	}
	device := filepath.Base(dir)
	if name := "/dev/" + device; mapping.IsArray(name) && md.Runs(filepath.Join(dir, "../../.."), device) {
		return name
	}
	return ""
}

// below is what a mapping or an array stands on: its links to slaves in sysfs
// (bd_link_disk_holder in block/holder.c).
func below(dir string) (names []string) {
	slaves, _ := os.ReadDir(dir + "/slaves") // removed while we look: nothing
	for _, s := range slaves {
		name := nameOf(filepath.Join(filepath.Dir(dir), s.Name()))
		if name == "" {
			name = s.Name()
		}
		names = append(names, name)
	}
	return names
}

func word(file string) (string, error) {
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

// RemoveMapping implements System.
func (k *Kernel) RemoveMapping(name string) error {
	if mapping.IsArray(name) {
		return md.Stop(filepath.Base(name))
	}
	return dm.Remove(name)
}
