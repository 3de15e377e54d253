package worker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/boot/wire"
	"latchkey/unlock/dm"
)

// chooseRoot finds the mapping that root= means and what file system is
// in it, and has the file system's module loaded.
func (w *worker) chooseRoot(ctx context.Context, o *openings) error {
	_, err := step(ctx, w, "probe", time.Minute, func(context.Context) (struct{}, string, error) {
		d, super, err := w.rootDisk(o)
		if err != nil {
			return struct{}{}, "", err
		}
		for _, fstype := range []string{w.plan.Root.FSType, w.plan.ImageRoot.FSType, super.Type} {
			if fstype != "" {
				w.loader.Device("fs-" + fstype)
				w.loader.Named(fstype)
			}
		}
		w.loader.Named(super.Modules...)

		err = w.conn.Send(wire.Record{Kind: wire.KindRoot, Name: d.Name, Text: super.Type})
		return struct{}{}, d.Name + " type=" + cmp.Or(w.plan.Root.FSType, super.Type), err
	})
	return err
}

// rootDisk finds the root as the command line names it, else as the image
// alone does.
func (w *worker) rootDisk(o *openings) (d *disk, super device.Super, err error) {
	roots := w.plan.Roots()
	for i, root := range roots {
		if d, super, err = w.findRoot(w.plan.RootDevice(root), o); err == nil {
			return d, super, nil
		}
		if i < len(roots)-1 {
			w.waiting(fmt.Errorf("%w: the command line is wrong; using the image's root", err))
		}
	}
	return nil, device.Super{}, err
}

func (w *worker) findRoot(want string, o *openings) (*disk, device.Super, error) {
	var seen []string
	for _, v := range o.all {
		if !v.open {
			seen = append(seen, v.disk.Name+" (closed)")
			continue
		}
		d := v.disk
		super, err := w.probeMapping(d.Name)
		if err != nil {
			return nil, super, codes.Fail(codes.RootUnusable, "%w", err)
		}
		if w.isRoot(want, d, super) {
			if super.Type == "" && w.plan.Root.FSType == "" {
				return nil, super, codes.Fail(codes.RootUnusable, "no file system is recognized in %s: name it in root.fstype", d.Name)
			}
			return d, super, nil
		}
		seen = append(seen, fmt.Sprintf("%s (%s UUID=%s LABEL=%s)", d.Name, super.Type, super.UUID, super.Label))
	}

	return nil, device.Super{}, codes.Fail("root-not-in-plan", "root=%s is none of the opened volumes: %s", want, strings.Join(seen, ", "))
}

func (w *worker) probeMapping(name string) (device.Super, error) {
	f, err := w.sys.Open("/dev/mapper/"+name, false)
	if err != nil {
		return device.Super{}, fmt.Errorf("opening the mapping %s: %w", name, err)
	}
	defer f.Close()
	super, _ := device.Probe(f)
	return super, nil
}

// isRoot tells whether root= means this volume: by its mapping, by the
// file system in it, or by the device that the container is on.
func (w *worker) isRoot(want string, d *disk, inside device.Super) bool {
	key, value, tagged := strings.Cut(want, "=")
	if tagged {
		value = strings.Trim(value, `"`)
		switch key {
		case "UUID":
			return strings.EqualFold(value, inside.UUID) || strings.EqualFold(value, d.Header.UUID())
		case "LABEL":
			return value != "" && (value == inside.Label || value == d.Header.Label())
		case "PARTLABEL":
			return value != "" && value == d.block.PartName
		case "PARTUUID":
			return value != "" && strings.EqualFold(value, w.partUUID(d.block))
		}
		return false
	}

	if name, ok := strings.CutPrefix(want, "/dev/mapper/"); ok {
		return name == d.Name || name == "luks-"+d.Header.UUID()
	}
	for dir, names := range map[string][]string{
		"/dev/disk/by-uuid/":      {inside.UUID, d.Header.UUID()},
		"/dev/disk/by-label/":     {inside.Label, d.Header.Label()},
		"/dev/disk/by-partuuid/":  {w.partUUID(d.block)},
		"/dev/disk/by-partlabel/": {d.block.PartName},
	} {
		if after, ok := strings.CutPrefix(want, dir); ok {
			return after != "" && slices.Contains(names, after)
		}
	}

	n, ok := w.sys.Number(want)
	return want == d.Device || ok && n == dm.Number{Major: d.block.Major, Minor: d.block.Minor}
}

func (w *worker) partUUID(b device.Block) string {
	if b.Partition == 0 {
		return ""
	}
	f, err := w.sys.Open("/dev/"+b.Disk, false)
	if err != nil {
		return ""
	}
	defer f.Close()
	uuid, err := device.PartUUID(f, b.Partition)
	if err != nil {
		return ""
	}
	return uuid
}
