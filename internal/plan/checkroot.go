package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/mapping"
)

// checkRoot refuses a root that can never be: one that no volume of the
// plan can hold, or that needs what is not there yet.
func (p *Plan) checkRoot() error {
	r := p.Root
	if err := p.checkDevice(r.Device); err != nil {
		return fmt.Errorf("root.device is %q: %w", r.Device, err)
	}
	if err := checkMount("root", r.FSType, r.Flags); err != nil {
		return err
	}
	if err := p.checkOverlay(); err != nil {
		return err
	}
	if r.Init != "" && !isProgram(r.Init) {
		return fmt.Errorf("root.init is %.80q, want an absolute path such as /sbin/init", r.Init)
	}

	i := slices.IndexFunc(p.Volumes, func(v Volume) bool { return "/dev/mapper/"+v.Name == r.Device })
	if i < 0 && r.Device == "" {
		i = 0
	}
	if i >= 0 && r.ReadWrite && slices.Contains(p.Volumes[i].Options, "read-only") {
		return fmt.Errorf("root.rw: volumes[%d] is the root and has the option read-only", i)
	}
	if i >= 0 && p.Volumes[i].NoFail {
		return fmt.Errorf("volumes[%d] is the root and has nofail: the boot cannot go on without it", i)
	}
	return nil
}

var (
	errZFS = errors.New("ZFS is not there yet: the root must be a file system of its own inside a LUKS volume")
	errNet = errors.New("a root over the network or from a live image is not there: the root must be inside a LUKS volume")
)

// checkDevice judges root=: what selects inside the plan's volumes is good.
func (p *Plan) checkDevice(device string) error {
	if len(device) > 256 || !printable(device) {
		return errors.New("want at most 256 printable characters")
	}
	if key, value, tagged := strings.Cut(device, "="); tagged {
		return checkTag(key, strings.Trim(value, `"`))
	}

	scheme, _, _ := strings.Cut(device, ":")
	switch {
	case device == "":
		return nil // the first volume
	case strings.HasPrefix(device, "gpt-auto"):
		return errors.New("gpt-auto is not there yet: name the volume that holds the root")
	case slices.Contains([]string{"nfs", "nfs4", "cifs", "iscsi", "nbd", "live", "dhcp", "dhcp6", "http", "https", "ftp", "virtiofs", "9p", "tmpfs", "aoe", "fcoe"}, scheme), device == "/dev/nfs":
		return errNet
	case scheme == "zfs", device == "/dev/zfs":
		return errZFS
	case strings.HasPrefix(device, "/dev/"):
		return p.checkNode(strings.TrimPrefix(device, "/dev/"))
	}
	return errors.New("want /dev/mapper/NAME, /dev/GROUP/VOLUME, UUID=, LABEL=, PARTUUID=, PARTLABEL= or a device")
}

func checkTag(key, value string) error {
	switch {
	case key == "ZFS" || key == "zfs":
		return errZFS
	case !slices.Contains([]string{"UUID", "LABEL", "PARTUUID", "PARTLABEL"}, key):
		return fmt.Errorf("%s= is not known, want UUID=, LABEL=, PARTUUID= or PARTLABEL=", key)
	case value == "":
		return fmt.Errorf("%s= names nothing", key)
	case strings.Contains(value, "/PARTNROFF="):
		return errors.New("PARTNROFF= is not there yet: name the partition itself")
	}
	return nil
}

// checkNode judges what follows /dev/.
func (p *Plan) checkNode(node string) error {
	dir, name, isPath := strings.Cut(node, "/")
	switch {
	case dir == "mapper":
		return p.checkMapping(name)
	case dir == "disk":
		by, link, _ := strings.Cut(name, "/")
		if slices.Contains([]string{"by-uuid", "by-label", "by-partuuid", "by-partlabel"}, by) && link != "" {
			return nil
		}
		return errors.New("no udev makes this link here: use /dev/mapper/NAME, UUID=, LABEL=, PARTUUID= or PARTLABEL=")

	case dir == "md" && isPath && mapping.IsLVMName(name): // an array, which holds a volume
		return nil
	case isPath && !(mapping.IsLVMName(dir) && mapping.IsLVMName(name)):
		return errors.New("this is no logical volume: want /dev/GROUP/VOLUME")
	case isPath:
		return nil
	case strings.HasPrefix(node, "dm-"):
		return errors.New("numbers of mappings change: use /dev/mapper/NAME")
	case node == "" || node == "root" || strings.HasPrefix(node, "ram"):
		return errors.New("want the device that holds one of the volumes, or /dev/mapper/NAME")
	}
	return nil
}

// checkMapping wants the name of a volume, what systemd calls it without a
// name of its own, luks-UUID, or what lvm2 calls a logical volume.
func (p *Plan) checkMapping(name string) error {
	var names []string
	for _, v := range p.Volumes {
		if name == v.Name || name == "luks-"+v.UUID {
			return nil
		}
		names = append(names, v.Name)
	}
	if _, _, ok := mapping.SplitLogical(name); ok {
		return nil
	}
	return fmt.Errorf("no volume has this name, only %s; a logical volume is /dev/mapper/GROUP-VOLUME, its own dashes doubled", strings.Join(names, ", "))
}

// LogicalRoot is the logical volume that a root names, if it names one.
func (p *Plan) LogicalRoot(r Root) (group, volume string, ok bool) {
	name, mapped := strings.CutPrefix(r.Device, "/dev/mapper/")
	if mapped {
		isOurs := func(v Volume) bool { return name == v.Name || name == "luks-"+v.UUID }
		if slices.ContainsFunc(p.Volumes, isOurs) {
			return "", "", false
		}
		return mapping.SplitLogical(name)
	}
	group, volume, isPath := strings.Cut(strings.TrimPrefix(r.Device, "/dev/"), "/")
	return group, volume, isPath && strings.HasPrefix(r.Device, "/dev/") && group != "disk" && group != "md" && mapping.IsLVMName(group) && mapping.IsLVMName(volume)
}
