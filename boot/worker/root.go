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
	"latchkey/internal/plan"
	"latchkey/unlock/dm"
)

// A root is where the real root was found.
type root struct {
	name  string // of the mapping; of an array, the path of its node
	super device.Super
}

// chooseRoot finds the mapping that root= means and what file system is
// in it, and has the file system's module loaded. Logical volumes that the
// root or the command line names are mapped on the way.
func (w *worker) chooseRoot(ctx context.Context, o *openings) error {
	limit := 2*time.Minute + max(0, w.plan.Degraded) + w.plan.Wait
	if w.plan.Spread() && w.plan.Wait == 0 {
		limit = 0
	}
	_, err := step(ctx, w, "probe", limit, func(ctx context.Context) (struct{}, string, error) {
		in := w.lookInside(ctx, o)
		defer in.close()
		if err := in.runOthers(ctx); err != nil {
			return struct{}{}, "", err
		}
		r, err := w.rootDisk(in)
		if err != nil {
			return struct{}{}, "", err
		}
		if err := in.join(r, w.plan.Root.Flags); err != nil {
			return struct{}{}, "", err
		}
		in.mapOthers(w.plan.Logical)
		for _, choose := range []func(*inside) error{w.chooseResume, w.chooseUsr, w.chooseOverlay} {
			if err := choose(in); err != nil {
				return struct{}{}, "", err
			}
		}
		w.loadFor(r, w.plan.Root.FSType, w.plan.ImageRoot.FSType)

		err = w.conn.Send(wire.Record{Kind: wire.KindRoot, Name: r.name, Text: r.super.Type})
		return struct{}{}, r.name + " type=" + cmp.Or(w.plan.Root.FSType, r.super.Type), err
	})
	return err
}

// loadFor loads the modules of file systems: those that are named, and what
// was found.
func (w *worker) loadFor(found root, named ...string) {
	for _, fstype := range append(named, found.super.Type) {
		if fstype != "" {
			w.loader.Device("fs-" + fstype)
			w.loader.Named(fstype)
		}
	}
	w.loader.Named(found.super.Modules...)
}

// rootDisk finds the root as the command line names it, else as the image
// alone does.
func (w *worker) rootDisk(in *inside) (r root, err error) {
	roots := w.plan.Roots()
	for i, named := range roots {
		if r, err = w.findRoot(named, in); err == nil {
			return r, nil
		}
		if i < len(roots)-1 {
			w.waiting(fmt.Errorf("%w: the command line is wrong; using the image's root", err))
		}
	}
	return root{}, err
}

func (w *worker) findRoot(named plan.Root, in *inside) (root, error) {
	want := w.plan.RootDevice(named)
	if group, name, ok := w.plan.LogicalRoot(named); ok && !named.NoLogical {
		return in.logicalRoot(want, group, name)
	}
	for _, v := range in.open {
		if v.err != nil {
			return root{}, codes.Fail(codes.RootUnusable, "%w", v.err)
		}
		switch {
		case !in.means(want, v):
		case v.super.Type == arrayType:
			return root{}, codes.Fail(codes.RootUnusable, "root=%s holds a member of an array: name the array in root.device or root=, or the file system in it; %s", want, in.seen())
		case v.super.Type == memberType:
			return root{}, codes.Fail(codes.RootUnusable, "root=%s holds no file system but LVM: name a logical volume in root.device or root=; %s", want, in.seen())
		case v.super.Type == "" && w.plan.Root.FSType == "":
			return root{}, codes.Fail(codes.RootUnusable, "no file system is recognized in %s: name it in root.fstype", v.name)
		default:
			return root{v.name, v.super}, nil
		}
	}
	if !named.NoLogical {
		if r, found, err := in.rootInside(want); found {
			return r, err
		}
	}

	return root{}, codes.Fail("root-not-in-plan", "root=%s is none of the opened volumes: %s", want, in.seen())
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
