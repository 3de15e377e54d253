package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/unlock/lvm"
	"latchkey/unlock/md"
)

// memberType is what device.Probe calls a physical volume of LVM.
const memberType = "LVM2_member"

// inside is what was found in the opened volumes, and in the arrays and
// logical volumes that lie on them. Nothing outside of them counts: a physical
// volume on a disk that is not encrypted is not read.
type inside struct {
	worker *worker
	open   []content
	arrays *arrays
	why    []string // arrays do not run
	closed []string // names of volumes
	absent []string // names of volumes whose device was not there
	waited bool     // for them
	set    *lvm.Set
	files  []File
	mapped map[string]bool // logical volumes, by the name of the mapping
}

// lookInside probes every opened volume, has the kernel run the arrays that
// are whole, and reads the metadata of those volumes and arrays that are
// physical volumes. The volumes are all open by now: a group on several is
// there or it will not be.
func (w *worker) lookInside(ctx context.Context, o *openings) *inside {
	in := &inside{worker: w, arrays: w.newArrays(), mapped: map[string]bool{}}
	blocks := in.blocks()
	for _, v := range o.all {
		if !v.open {
			in.closed = append(in.closed, v.disk.Name)
			continue
		}
		in.add(content{name: v.disk.Name, disk: v.disk, readOnly: v.disk.Options.ReadOnly}, blocks)
	}
	for _, v := range w.plan.Volumes {
		if !slices.ContainsFunc(o.all, func(of *opening) bool { return of.disk.Name == v.Name }) {
			in.absent = append(in.absent, v.Name)
		}
	}
	in.runArrays(ctx, func(a *md.Array) bool { return a.Whole() && w.plan.Arrays.Wants(a.UUID) })
	in.assemble()
	return in
}

// blocks lists the block devices.
func (in *inside) blocks() []device.Block {
	blocks, err := in.worker.sys.Blocks()
	if err != nil {
		in.worker.log.Warn("listing block devices: " + err.Error()) // each volume says that it is not listed
	}
	return blocks
}

// add probes a volume or an array.
func (in *inside) add(c content, blocks []device.Block) {
	err := in.probe(&c, blocks)
	switch {
	case errors.Is(err, lvm.ErrDamaged):
		in.worker.waiting(codes.Fail("lvm-damaged", "%w", err))
	case err != nil:
		c.err = fmt.Errorf("opening the mapping %s: %w", c.name, err)
	}
	if c.probed.damage != nil {
		in.arrays.tell(codes.Fail("md-damaged", "%w", c.probed.damage))
	}
	in.open = append(in.open, c)
}

// assemble puts together what the physical volumes say.
func (in *inside) assemble() {
	var pvs []*lvm.PV
	for _, c := range in.open {
		if c.pv != nil {
			pvs = append(pvs, c.pv)
		}
	}
	in.set = lvm.Assemble(pvs)
	for _, p := range in.set.Problems {
		in.arrays.tell(codes.Fail("lvm-damaged", "%w", p))
	}
}

func (in *inside) close() {
	for _, f := range in.files {
		f.Close()
	}
}

// seen lists, for people, what there is.
func (in *inside) seen() string {
	var seen []string
	for _, c := range in.open {
		if c.super.Type == memberType {
			seen = append(seen, c.name+" (LVM)")
			continue
		}
		seen = append(seen, fmt.Sprintf("%s (%s UUID=%s LABEL=%s)", c.name, c.super.Type, c.super.UUID, c.super.Label))
	}
	for _, v := range in.set.Visible() {
		seen = append(seen, "/dev/"+v.String())
	}
	seen = append(seen, in.why...)
	for _, name := range in.closed {
		seen = append(seen, name+" (closed)")
	}
	const most = 12
	if n := len(seen); n > most {
		seen = append(seen[:most], fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(seen, ", ")
}

// logicalRoot is the root that names a logical volume.
func (in *inside) logicalRoot(want, group, name string) (root, error) {
	v := in.set.Find(group, name)
	if v == nil && len(in.set.Problems) > 0 {
		return root{}, codes.Fail("lvm-damaged", "root=%s is not there, and %w", want, in.set.Problems[0])
	}
	if v == nil {
		return root{}, codes.Fail("root-not-in-plan", "root=%s is no logical volume in the opened volumes: %s", want, in.seen())
	}
	super, err := in.content(v)
	if err != nil {
		return root{}, err
	}
	return in.take(v, super)
}

// rootInside looks for a file system in the logical volumes. If none of those
// that can be mapped has it, one of the others may: err says why that one
// cannot.
func (in *inside) rootInside(want string) (r root, found bool, err error) {
	if !isFileSystem(want, nil) {
		return root{}, false, nil
	}
	for _, v := range in.set.Visible() {
		super, unusable := in.content(v)
		if unusable == nil && isFileSystem(want, &super) {
			r, err := in.take(v, super)
			return r, true, err
		}
		if err == nil && unusable != nil {
			err = codes.Fail(codes.Of(unusable), "root=%s is not in the opened volumes as far as they can be read; %w", want, unusable)
		}
	}
	return root{}, err != nil, err
}

// isFileSystem tells whether root= means this file system by what is in it,
// or with nil, any.
func isFileSystem(want string, super *device.Super) bool {
	key, value, _ := strings.Cut(want, "=")
	value = strings.Trim(value, `"`)
	for prefix, k := range map[string]string{"/dev/disk/by-uuid/": "UUID", "/dev/disk/by-label/": "LABEL"} {
		if after, ok := strings.CutPrefix(want, prefix); ok {
			key, value = k, after
		}
	}
	switch {
	case super == nil:
		return key == "UUID" || key == "LABEL"
	case key == "UUID":
		return value != "" && strings.EqualFold(value, super.UUID)
	case key == "LABEL":
		return value != "" && value == super.Label
	}
	return false
}

// content tells what is in a logical volume, before it is mapped.
func (in *inside) content(v *lvm.Volume) (device.Super, error) {
	if err := v.Usable(); err != nil {
		return device.Super{}, in.unusable(err)
	}
	return contentOf(v, v.String(), v.SizeBytes()), nil
}

// unusable gives what lvm says a code of the boot's.
func (in *inside) unusable(err error) error {
	switch {
	case errors.Is(err, lvm.ErrMissing) && len(in.closed) > 0:
		return codes.Fail("lvm-missing", "%w; closed: %s", err, strings.Join(in.closed, ", "))
	case errors.Is(err, lvm.ErrMissing):
		return codes.Fail("lvm-missing", "%w", err)
	case errors.Is(err, lvm.ErrNames):
		return codes.Fail("lvm-names", "%w", err)
	case errors.Is(err, lvm.ErrUnsupported):
		return codes.Fail("lvm-unsupported", "%w", err)
	}
	return codes.Fail("lvm-damaged", "%w", err)
}

// take maps the logical volume that is the root.
func (in *inside) take(v *lvm.Volume, super device.Super) (root, error) {
	if super.Type == arrayType {
		return root{}, codes.Fail(codes.RootUnusable, "%s holds a member of an array, and no array on logical volumes is run", v)
	}
	if super.Type == "" && in.worker.plan.Root.FSType == "" {
		return root{}, codes.Fail(codes.RootUnusable, "no file system is recognized in %s: name it in root.fstype", v)
	}
	return root{v.MappingName(), super}, in.activate(v)
}

// of is the content of a volume or an array, by its name.
func (in *inside) of(name string) content {
	return in.open[slices.IndexFunc(in.open, func(c content) bool { return c.name == name })]
}

// mapOthers maps what rd.lvm.lv= and rd.lvm.vg= name. The boot does not need
// them: what cannot be mapped is said. With rd.lvm=0 they stay as they are.
func (in *inside) mapOthers(names []string) {
	if in.worker.plan.Root.NoLogical {
		return
	}
	for _, name := range names {
		found := false
		for _, v := range in.set.Visible() {
			if v.String() != name && v.GroupName() != name {
				continue
			}
			found = true
			if err := in.activate(v); err != nil {
				in.worker.waiting(err)
			}
		}
		if !found {
			in.worker.waiting(codes.Fail("lvm-missing", "the command line names %s, which is not in the opened volumes: %s", name, in.seen()))
		}
	}
}
