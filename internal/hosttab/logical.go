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
	// Stacked: it lies on other logical volumes, as thin, cache and snapshots
	// do, and not on devices alone.
	Stacked bool
	// RAID: those that it lies on are the legs of a RAID of LVM, of whatever
	// level.
	RAID bool
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
	r.RAID = r.RAID && !r.Stacked
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
	slaves, err := os.ReadDir(h.path("/sys/class/block", device, "slaves"))
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
		if strings.HasPrefix(uuid, "LVM-") {
			isLeg := depth == 0 && r.isLeg(h.dm(s.Name(), "name"))
			r.RAID, r.Stacked = r.RAID || isLeg, r.Stacked || !isLeg
		}
		h.descend(r, s.Name(), depth+1)
	}
}

// isLeg tells whether a mapping has the name of one of the parts of a RAID:
// NAME_rmeta_N and NAME_rimage_N.
func (r *LogicalRoot) isLeg(name string) bool {
	group, volume, _ := mapping.SplitLogical(name)
	rest, ok := strings.CutPrefix(volume, r.Name+"_r")
	kind, n, both := strings.Cut(rest, "_")
	return ok && both && group == r.Group && (kind == "meta" || kind == "image") && n != "" && strings.Trim(n, "0123456789") == ""
}

// dm is what sysfs says of a mapping, "" of anything else.
func (h Host) dm(device, file string) string {
	return line(h.path("/sys/class/block", device, "dm", file))
}
