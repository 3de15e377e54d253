package worker

import (
	"context"
	"slices"

	"latchkey/boot/codes"
	"latchkey/internal/plan"
	"latchkey/unlock/md"
)

// runArrays has the kernel run those arrays on the opened volumes that ready
// takes, and looks into them: on an array there may be the next.
func (in *inside) runArrays(ctx context.Context, ready func(*md.Array) bool) {
	for more := true; more; {
		var members []probed
		for _, c := range in.open {
			members = append(members, c.probed)
		}
		in.why = in.arrays.see(members)
		for _, a := range in.runnable() {
			if ready(a) {
				in.arrays.start(ctx, a, true)
			}
		}
		more = in.addArrays()
	}
}

// runnable are the arrays that could run and do not.
func (in *inside) runnable() (all []*md.Array) {
	for _, a := range in.arrays.there {
		if a.Problem == nil && a.Enough() == nil && in.arrays.tried[a.UUID] != len(a.Members) {
			all = append(all, a)
		}
	}
	return all
}

// addArrays looks into the arrays that run by now and tells whether there is
// a new one. Whatever is on a member, the kernel says which array uses it.
func (in *inside) addArrays() (added bool) {
	blocks := in.blocks()
	for i, c := range in.open {
		b, err := in.block(c.name, blocks)
		if c.super.Type != arrayType || err != nil || b.Array == "" {
			continue
		}
		in.open[i].probed.block.Array = b.Array
		name := "/dev/" + b.Array
		of := slices.IndexFunc(in.open, func(c content) bool { return c.name == name })
		if of < 0 {
			in.add(content{name: name}, blocks)
			of, added = len(in.open)-1, true
		}
		in.open[of].readOnly = in.open[of].readOnly || c.readOnly
	}
	return added
}

// runOthers has the kernel run, if the boot misses what the plan names, the
// arrays that lack members, after the plan's pause, and those that the command
// line does not want. A volume that comes meanwhile is opened by another
// worker: this one has let go of its sources.
func (in *inside) runOthers(ctx context.Context) error {
	w, degraded := in.worker, func(a *md.Array) bool { return !a.Whole() }
	others := in.runnable()
	if len(others) == 0 || !in.misses() {
		return in.awaitRoot()
	}
	if i := slices.IndexFunc(others, degraded); i >= 0 && w.plan.Degraded >= 0 {
		if late := in.late(); late != "" {
			return codes.Fail("volume-late", "volume %s has come, which may hold a member of %s: beginning again, with it", late, others[i])
		}
	}
	in.runArrays(ctx, func(a *md.Array) bool {
		if degraded(a) && w.plan.Degraded < 0 {
			in.arrays.tell(codes.Fail("md-degraded", "%s is not run: degraded is never in the plan, and it lacks members", a))
			return false
		}
		return true
	})
	in.assemble()
	return in.awaitRoot()
}

// awaitRoot waits, if what the plan names may be in a volume that is not there
// because all have nofail, as long as the plan waits for devices.
func (in *inside) awaitRoot() error {
	w := in.worker
	if !w.plan.Spread() || len(in.absent) == 0 || !in.misses() {
		return nil
	}
	w.waiting(codes.Fail("volume-missing", "volume %s is not there, and what the plan names is in none of the others: %s", in.absent[0], in.seen()))
	if late := in.lateUntil(due(w.plan.Wait)); late != "" {
		return codes.Fail("volume-late", "volume %s has come, which the boot may need: beginning again, with it", late)
	}
	return nil
}

// misses tells whether something that the plan names is in nothing that was
// found so far.
func (in *inside) misses() bool {
	p := in.worker.plan
	wanted := p.Resumes()
	for _, u := range p.Usrs() {
		wanted = append(wanted, u.Device)
	}
	if o := p.Root.OverlayDevice(); o != "" {
		wanted = append(wanted, o)
	}
	for _, want := range append(wanted, p.RootDevice(p.Root)) {
		if !in.has(want) {
			return true
		}
	}
	return false
}

// has tells whether a device of the plan means something that was found.
func (in *inside) has(want string) bool {
	if group, name, ok := in.worker.plan.LogicalRoot(plan.Root{Device: want}); ok {
		v := in.set.Find(group, name)
		return v != nil && v.Usable() == nil
	}
	for _, c := range in.open {
		if c.err == nil && c.super.Type != arrayType && in.means(want, c) {
			return true
		}
	}
	for _, v := range in.set.Visible() {
		if super, err := in.content(v); err == nil && isFileSystem(want, &super) {
			return true
		}
	}
	return false
}

// means tells whether a device of the plan means this volume or array.
func (in *inside) means(want string, c content) bool {
	w := in.worker
	if c.disk != nil {
		return w.isRoot(want, c.disk, c.super)
	}
	if isFileSystem(want, &c.super) {
		return true
	}
	wanted, ok := w.sys.Number(want)
	is, there := w.sys.Number(c.name)
	return ok && there && wanted == is
}
