package boot

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/mapping"
	"latchkey/internal/order"
)

// judgeRoot takes the mapping that the worker calls the root only if it is a
// volume of the plan that this boot opened, or a logical volume or an array
// that lies on such volumes and nothing else. The kernel says so, not the
// worker.
func (b *pid1) judgeRoot(mappings map[string]Mapping) error { return b.judge(b.root.Name, mappings) }

// maxDepth is how many layers may lie on the volumes: a mirror of LVM on its
// parts, and those on an array.
const maxDepth = 3

// judge is judgeRoot for any mapping.
func (b *pid1) judge(name string, mappings map[string]Mapping) error {
	if b.volume(name) != nil {
		return b.judgeVolume(name, mappings)
	}
	if !isLayer(name, mappings) {
		return &StepError{"root", "root-not-in-plan", fmt.Errorf("mapping %q is not in the plan", name)}
	}
	return b.judgeLayer(name, mappings, maxDepth)
}

// isLayer tells whether a name is that of a logical volume or an array, which
// lies on something.
func isLayer(name string, mappings map[string]Mapping) bool {
	m := mappings[name]
	return (mapping.IsLogical(m.UUID) || mapping.IsArray(name)) && len(m.On) > 0
}

// judgeLayer wants all that a logical volume or an array lies on to be volumes
// of the plan, or such layers of which that is true.
func (b *pid1) judgeLayer(name string, mappings map[string]Mapping, depth int) error {
	what := "logical volume"
	if mapping.IsArray(name) {
		what = "array"
	}
	for _, below := range mappings[name].On {
		part := depth > 1 && isLayer(below, mappings)
		var err error
		switch {
		case b.volume(below) != nil:
			err = b.judgeVolume(below, mappings)
		case part:
			err = b.judgeLayer(below, mappings, depth-1)
		default:
			err = &StepError{"root", "root-not-in-plan", fmt.Errorf("%s %s lies on %s, which is not in the plan", what, name, below)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// judgeVolume wants the mapping of a volume to be the one that this boot
// made.
func (b *pid1) judgeVolume(name string, mappings map[string]Mapping) error {
	v := b.volume(name)
	got, want := mappings[name].UUID, mapping.DMUUID("LUKS2", v.UUID, v.Name)
	if got != want && !(v.LUKS1 && got == mapping.DMUUID("LUKS1", v.UUID, v.Name)) {
		return &StepError{"root", "root-unusable", fmt.Errorf("mapping %s has UUID %q, want %q: this boot did not open it", name, got, want)}
	}
	return nil
}

// above lists the mappings that stand on volumes of the plan, or on such
// mappings: logical volumes and arrays. Those that others stand on come last.
func (b *pid1) above(mappings map[string]Mapping) (names []string) {
	on := func(name string) bool { return b.volume(name) != nil }
	for range mappings { // none is deeper than there are mappings
		var level []string
		for name, m := range mappings {
			if slices.ContainsFunc(m.On, on) {
				level = append(level, name)
			}
		}
		slices.Sort(level)
		names = append(level, slices.DeleteFunc(names, func(n string) bool { return slices.Contains(level, n) })...)
		on = func(name string) bool { return slices.Contains(level, name) }
	}
	return names
}

// isPart tells whether another logical volume stands on one.
func isPart(name string, mappings map[string]Mapping) bool {
	if !mapping.IsLogical(mappings[name].UUID) {
		return false
	}
	for _, m := range mappings {
		if mapping.IsLogical(m.UUID) && slices.Contains(m.On, name) {
			return true
		}
	}
	return false
}

// disks lists the mappings of disks that are reached in several ways, after
// those of their partitions. Nothing but the worker makes such a mapping.
func disks(mappings map[string]Mapping) (names []string) {
	for name, m := range mappings {
		if _, _, ok := mapping.SplitMultipath(m.UUID); ok {
			names = append(names, name)
		}
	}
	order.By(names, func(a, b string) int {
		return cmp.Or(len(mappings[b].UUID)-len(mappings[a].UUID), strings.Compare(a, b)) // part1-mpath-WWID, mpath-WWID
	})
	return names
}

// removeMappings closes every volume, after what stands on it and before what
// it stands on. A mapping of
// a disk that does not answer may never go: that is said, and the boot goes
// on.
func (b *pid1) removeMappings() {
	if b.plan == nil {
		return
	}
	present, err := b.sys.Mappings()
	if err != nil {
		b.sys.Log(Human, "listing mappings: "+err.Error())
		return
	}

	names := b.above(present)
	for _, v := range b.plan.Volumes {
		names = append(names, v.Name)
	}
	for _, name := range append(names, disks(present)...) {
		if _, ok := present[name]; !ok {
			continue
		}
		if err := within(callWait, func() error { return b.sys.RemoveMapping(name) }); err != nil {
			b.sys.Log(Human, "removing mapping "+name+": "+err.Error())
		}
	}
}
