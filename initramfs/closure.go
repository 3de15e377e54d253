package initramfs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/internal/plan"
)

// always are the modules that every boot loads, by name or alias: the
// mapping and its ciphers. What the kernel has built in is passed over.
var always = []string{
	"dm-mod", "dm-crypt", "xts", "ecb", "crypto-xts", "crypto-aes", "aesni-intel", "aes-arm64", "aes-ce-blk", "aes-neon-blk", "encrypted-keys",
}

// universal are the folders and files under kernel/ whose modules go into
// an image for any machine: buses, disks, wired networks, TPMs, and the
// file systems a root may have.
var universal = []string{
	"drivers/ata/", "drivers/block/virtio_blk.", "drivers/block/xen-blkfront.", "drivers/char/tpm/", "drivers/hv/hv_vmbus.",
	"drivers/char/hw_random/virtio-rng.", "drivers/hid/hid-hyperv.", "drivers/md/dm-crypt.", "drivers/md/dm-mod.",
	"drivers/message/fusion/", "drivers/mmc/", "drivers/net/bonding/", "drivers/net/ethernet/", "drivers/net/hyperv/", "drivers/net/mdio/",
	"drivers/net/phy/", "drivers/net/usb/", "drivers/net/virtio_net.", "drivers/net/vmxnet3/", "drivers/net/xen-netfront.",
	"drivers/nvme/host/", "drivers/pci/controller/", "drivers/pci/hotplug/", "drivers/scsi/", "drivers/ufs/", "drivers/usb/dwc2/", "drivers/usb/dwc3/",
	"drivers/usb/host/", "drivers/usb/storage/", "drivers/virtio/", "drivers/xen/", "fs/btrfs/", "fs/erofs/", "fs/ext4/", "fs/f2fs/",
	"fs/squashfs/", "fs/xfs/", "net/8021q/", "net/bridge/bridge.",
}

// unusual are modules in those folders that only few roots need, and that
// bring much along: fabrics, tapes, test drivers, hypervisors' own sides.
// modules.add in latchkey.yaml brings each back.
var unusual = []string{
	"bnx2fc", "bnx2i", "ch", "cxgb3i", "cxgb4i", "fcoe", "ib_core", "iscsi_tcp", "libiscsi", "libosd", "mlx4_ib", "mlx5_ib", "nvme_fc",
	"nvme_rdma", "nvme_tcp", "osst", "pmcraid", "qedf", "qedi", "scsi_debug", "scsi_transport_iscsi", "sg", "ses", "st", "target_core_mod",
	"xen_scsiback", "xen_pciback", "xen_privcmd", "xen_gntdev", "xen_gntalloc", "xen_evtchn", "xenfs", "virtio_mem", "virtio_balloon",
}

// choose lists the names of the modules that the image needs, without
// what those depend on.
func (k *kernel) choose(c ModulesConfig, p *plan.Plan) ([]string, error) {
	var names []string
	switch c.Set {
	case "", "universal":
		for file := range k.deps {
			path, _ := strings.CutPrefix(file, "kernel/")
			name := plan.ModuleName(file)
			if otherFileSystem(path, p.Root.FSType) || slices.Contains(unusual, name) {
				continue
			}
			if slices.ContainsFunc(universal, func(p string) bool { return strings.HasPrefix(path, p) }) {
				names = append(names, name)
			}
		}

	case "host":
		found, err := k.ofHost("/sys/devices")
		if err != nil {
			return nil, err
		}
		names = found

	case "none":
	default:
		return nil, fmt.Errorf("modules.set is %q, want universal, host or none", c.Set)
	}

	for _, word := range slices.Concat(always, p.Net.Modules()) {
		names = append(names, k.resolve(word)...)
	}
	for _, word := range c.Add {
		found := k.resolve(word)
		if len(found) == 0 && !k.builtin[plan.ModuleName(word)] {
			return nil, fmt.Errorf("modules.add: the kernel in %s has no module or alias %q", k.dir, word)
		}
		names = append(names, found...)
	}

	slices.Sort(names)
	return slices.Compact(names), nil
}

// otherFileSystem tells whether a module is a file system's that the root
// is said not to have.
func otherFileSystem(path, fstype string) bool {
	return fstype != "" && strings.HasPrefix(path, "fs/") && !strings.HasPrefix(path, "fs/"+fstype+"/")
}

// ofHost lists the modules that the devices of this machine ask for, and
// the file systems that are mounted.
func (k *kernel) ofHost(sys string) ([]string, error) {
	index := &plan.Modules{}
	for _, a := range k.alias {
		index.Aliases = append(index.Aliases, plan.Alias{Pattern: a.pattern, Module: len(index.List)})
		index.List = append(index.List, plan.Module{Path: a.name})
	}
	var names []string

	err := filepath.WalkDir(sys, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "modalias" {
			return nil //nolint:nilerr // a device may vanish while we look
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		for _, i := range index.Match(strings.TrimSpace(string(text))) {
			names = append(names, plan.ModuleName(index.List[i].Path))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for this machine's devices: %w", err)
	}

	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("looking for this machine's file systems: %w", err)
	}

	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 {
			names = append(names, k.resolve("fs-"+f[2])...)
		}
	}

	return names, nil
}

// closure orders the chosen modules and all they need so that each comes
// after what it depends on. A soft dependency that would close a circle
// is left out, as modprobe does.
func (k *kernel) closure(names, exclude []string) *plan.Modules {
	index := &plan.Modules{}
	place := map[string]int{} // name → index; -1 while it is being placed
	out := map[string]bool{}
	for _, e := range exclude {
		out[plan.ModuleName(e)] = true
	}

	var add func(name string) (int, bool)
	add = func(name string) (int, bool) {
		if i, seen := place[name]; seen {
			return i, i >= 0
		}
		file, ok := k.byName[name]
		if !ok || out[name] {
			return -1, false
		}

		place[name] = -1
		m := plan.Module{Path: file}
		for _, dep := range k.deps[file] {
			if i, ok := add(plan.ModuleName(dep)); ok {
				m.Deps = append(m.Deps, i)
			}
		}

		for _, word := range k.soft[name] {
			for _, soft := range k.resolve(word) {
				if i, ok := add(soft); ok && !slices.Contains(m.Deps, i) {
					m.Soft = append(m.Soft, i)
				}
			}
		}

		place[name] = len(index.List)
		index.List = append(index.List, m)
		return place[name], true
	}
	for _, name := range names {
		add(name)
	}

	for _, a := range k.alias {
		i, ok := place[plan.ModuleName(a.name)]
		if ok && i >= 0 && deviceAlias(a.pattern) {
			index.Aliases = append(index.Aliases, plan.Alias{Pattern: a.pattern, Module: i})
		}
	}

	return index
}

// deviceAlias tells whether a pattern can match a device's modalias or a
// file system; the rest (crypto-*, net-pf-*, …) is asked for by name.
func deviceAlias(pattern string) bool {
	bus, _, ok := strings.Cut(pattern, ":")
	return strings.HasPrefix(pattern, "fs-") || ok && !strings.Contains(bus, "-") && !strings.HasPrefix(pattern, "devname:")
}
