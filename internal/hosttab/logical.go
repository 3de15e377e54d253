package hosttab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/mapping"
)

// A LogicalRoot is the logical volume that the running system has as "/".
type LogicalRoot struct {
	Group, Name string
	// Volumes are the UUIDs of the LUKS volumes that it lies on.
	Volumes []string
	// Stacked: it lies on other logical volumes, as thin, RAID, cache and
	// snapshots do, and not on devices alone.
	Stacked bool
}

func (r *LogicalRoot) String() string { return r.Group + "/" + r.Name }

// LogicalRoot is nil if "/" is in no logical volume. It believes the kernel:
// the mounts, and what sysfs says of device-mapper.
func (h Host) LogicalRoot() (*LogicalRoot, error) {
	source, _, err := h.rootSource()
	if err != nil || source == "" {
		return nil, err
	}
	path, err := h.device(source)
	if err != nil {
		return nil, nil // an overlay, a network: no device
	}

	device := filepath.Base(path)
	group, name, ok := mapping.SplitLogical(h.dm(device, "name"))
	if !ok || !strings.HasPrefix(h.dm(device, "uuid"), "LVM-") {
		return nil, nil
	}
	r := &LogicalRoot{Group: group, Name: name}
	h.descend(r, device, 0)
	return r, nil
}

// rootSource is what is mounted on "/", and its type: the last line counts
// (proc_pid_mountinfo(5)).
func (h Host) rootSource() (source, kind string, err error) {
	lines, err := h.fields("/proc/self/mountinfo", 10)
	for _, f := range lines {
		if dash := slices.Index(f, "-"); f[4] == "/" && dash > 0 && len(f) > dash+2 {
			kind, source = f[dash+1], f[dash+2]
		}
	}
	return source, kind, err
}

// descend notes what a mapping stands on. No real stack is eight deep.
func (h Host) descend(r *LogicalRoot, device string, depth int) {
	slaves, err := os.ReadDir(filepath.Join(h.Root, "/sys/class/block", device, "slaves"))
	if err != nil || depth > 8 {
		return
	}
	for _, s := range slaves {
		uuid := h.dm(s.Name(), "uuid")
		if volume := cryptUUID(uuid); volume != "" {
			if !slices.Contains(r.Volumes, volume) {
				r.Volumes = append(r.Volumes, volume)
			}
			continue
		}
		r.Stacked = r.Stacked || strings.HasPrefix(uuid, "LVM-")
		h.descend(r, s.Name(), depth+1)
	}
}

// dm is what sysfs says of a mapping, "" of anything else.
func (h Host) dm(device, file string) string {
	return line(filepath.Join(h.Root, "/sys/class/block", device, "dm", file))
}
