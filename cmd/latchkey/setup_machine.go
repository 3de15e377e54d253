package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/hosttab"
	"latchkey/internal/mapping"
)

// A machine is what setup finds.
type machine struct {
	volumes []machineVolume
	root    string     // what the plan's root.device must be, "" for the first volume
	esp     string     // where the EFI system partition is mounted, "" for nowhere
	loader  bool       // systemd-boot is on it
	initrd  string     // where the distribution's initramfs are
	kernel  string     // where the kernels are
	cmdline string     // of this boot, where /etc/kernel/cmdline is missing
	keys    signingKey // for Secure Boot

	chosen []machineVolume
}

// A machineVolume is a LUKS volume of this machine.
type machineVolume struct {
	uuid, path string
	name       string // of its mapping, as crypttab has it
	isRoot     bool   // / is on it
	needed     bool   // the initramfs opens it
	hosttab.Tabled
}

// look finds out what the questions are about.
func (o *setup) look() (*machine, error) {
	m := &machine{}
	onRoot, err := o.rootVolumes(m)
	if err != nil {
		return nil, err
	}
	links, err := os.ReadDir(o.update.path(byUUID))
	if err != nil {
		return nil, fmt.Errorf("looking for volumes: %w", err)
	}
	for _, l := range links {
		v := machineVolume{uuid: l.Name(), path: o.update.path(filepath.Join(byUUID, l.Name()))}
		f, h, err := readVolume(v.path)
		if err != nil {
			continue // no volume, or one that no boot opens
		}
		f.Close()
		if h.UUID() != v.uuid {
			continue
		}
		if v.Tabled, err = o.host.Tabled(v.uuid); err != nil {
			return nil, err
		}
		v.isRoot = slices.Contains(onRoot, v.uuid)
		v.needed = v.isRoot || v.Early
		v.name = cmp.Or(v.Tabled.Name, o.host.MappingOf(v.uuid), "luks-"+v.uuid)
		m.volumes = append(m.volumes, v)
	}
	if len(m.volumes) == 0 {
		return nil, errors.New("this machine has no LUKS2 volume that a boot could open (lsblk -f; latchkey volume inspect DEVICE says why not)")
	}
	slices.SortStableFunc(m.volumes, func(a, b machineVolume) int {
		return cmp.Or(-compareBool(a.isRoot, b.isRoot), -compareBool(a.needed, b.needed))
	})
	return m, o.bootFiles(m)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// rootVolumes are the volumes that / is on.
func (o *setup) rootVolumes(m *machine) ([]string, error) {
	logical, err := o.host.LogicalRoot()
	if err != nil {
		return nil, err
	}
	if logical != nil {
		if logical.Stacked {
			return nil, fmt.Errorf("/ is the logical volume %s, which lies on others (thin, RAID, cache or a snapshot): only linear and striped ones are supported yet", logical)
		}
		m.root = "/dev/mapper/" + mapping.LogicalName(logical.Group, logical.Name)
		return logical.Volumes, nil
	}
	r, err := o.host.RunningRoot()
	if err != nil || r.Volume == "" {
		return nil, errors.Join(err, fmt.Errorf("/ (%s) is not on a LUKS volume: write latchkey.yaml by hand (docs/plan.md)", cmp.Or(r.Source, "unknown")))
	}
	return []string{r.Volume}, nil
}

// bootFiles finds where kernels, images and the EFI system partition are.
func (o *setup) bootFiles(m *machine) error {
	versions, err := o.update.versions()
	if err != nil {
		return err
	}
	newest := versions[len(versions)-1]
	there := func(pattern string) bool {
		return exists(o.update.path(strings.ReplaceAll(pattern, "{version}", newest)))
	}
	for _, p := range distributions[:3] {
		if m.initrd == "" && there(p) {
			m.initrd = p
		}
	}
	for _, p := range []string{"/boot/vmlinuz-{version}", "/lib/modules/{version}/vmlinuz"} {
		if m.kernel == "" && there(p) {
			m.kernel = p
		}
	}
	for _, dir := range []string{"/efi", "/boot/efi", "/boot"} {
		if m.esp == "" && exists(o.update.path(dir+"/EFI")) {
			m.esp = dir
		}
	}
	m.loader = m.esp != "" && exists(o.update.path(m.esp+"/EFI/systemd"))
	if !exists(o.update.path("/etc/kernel/cmdline")) {
		m.cmdline = ownWords(o.update.path("/proc/cmdline"))
	}
	for _, k := range signingKeys {
		if m.keys.key == "" && exists(o.update.path(k.certificate)) && k.usable(o.update.path(k.key)) {
			m.keys = k
		}
	}
	return nil
}

// ownWords are those of a command line that no boot loader has added.
func ownWords(path string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(textOf(path)), func(w string) bool {
		return strings.HasPrefix(w, "BOOT_IMAGE=") || strings.HasPrefix(w, "initrd=")
	}), " ")
}

// choose finds the volumes that are meant.
func (o *setup) choose(m *machine) error {
	m.chosen = nil
	for _, want := range o.Volumes {
		real, _ := filepath.EvalSymlinks(want)
		i := slices.IndexFunc(m.volumes, func(v machineVolume) bool {
			device, err := filepath.EvalSymlinks(v.path)
			return strings.EqualFold(want, v.uuid) || want == v.name || err == nil && device == real
		})
		if i < 0 {
			return cli.Usagef("volume %q: this machine has %s", want, strings.Join(names(m.volumes), ", "))
		}
		if !slices.ContainsFunc(m.chosen, func(v machineVolume) bool { return v.uuid == m.volumes[i].uuid }) {
			m.chosen = append(m.chosen, m.volumes[i])
		}
	}
	for _, v := range m.volumes {
		if v.isRoot && !slices.ContainsFunc(m.chosen, func(c machineVolume) bool { return c.uuid == v.uuid }) {
			return cli.Usagef("/ is on volume %s (%s): it must be one of those that are opened", v.name, v.uuid)
		}
	}
	slices.SortStableFunc(m.chosen, func(a, b machineVolume) int { return -compareBool(a.isRoot, b.isRoot) })
	return nil
}

func names(all []machineVolume) (list []string) {
	for _, v := range all {
		list = append(list, fmt.Sprintf("%s (%s)", v.name, v.uuid))
	}
	return list
}

// image is the section of latchkey.yaml that says where images are.
func (o *setup) image(m *machine) (c initramfs.ImageConfig) {
	if o.Boot == wayInitramfs {
		c.Initrd = m.initrd
		return c
	}
	c.UKI, c.Kernel, c.Cmdline = cmp.Or(m.esp, "/boot/efi")+"/EFI/Linux/latchkey-{version}.efi", m.kernel, m.cmdline
	if o.Sign != "no" {
		c.BootKey, c.BootCert = m.keys.key, m.keys.certificate
	}
	return c
}
