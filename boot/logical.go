package boot

import (
	"fmt"
	"slices"

	"latchkey/internal/mapping"
)

// judgeRoot takes the mapping that the worker calls the root only if it is a
// volume of the plan that this boot opened, or a logical volume that lies on
// such volumes and nothing else. The kernel says so, not the worker.
func (b *pid1) judgeRoot(mappings map[string]Mapping) error { return b.judge(b.root.Name, mappings) }

// judge is judgeRoot for any mapping.
func (b *pid1) judge(name string, mappings map[string]Mapping) error {
	if b.volume(name) != nil {
		return b.judgeVolume(name, mappings)
	}

	m := mappings[name]
	if !mapping.IsLogical(m.UUID) || len(m.On) == 0 {
		return &StepError{"root", "root-not-in-plan", fmt.Errorf("mapping %q is not in the plan", name)}
	}
	for _, below := range m.On {
		if b.volume(below) == nil {
			return &StepError{"root", "root-not-in-plan", fmt.Errorf("logical volume %s lies on %s, which is not in the plan", name, below)}
		}
		if err := b.judgeVolume(below, mappings); err != nil {
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

// above lists, sorted, the mappings that stand on volumes of the plan:
// logical volumes.
func (b *pid1) above(mappings map[string]Mapping) (names []string) {
	for name, m := range mappings {
		if slices.ContainsFunc(m.On, func(below string) bool { return b.volume(below) != nil }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// removeMappings closes every volume, after what stands on it. A mapping of
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
	for _, name := range names {
		if _, ok := present[name]; !ok {
			continue
		}
		if err := within(callWait, func() error { return b.sys.RemoveMapping(name) }); err != nil {
			b.sys.Log(Human, "removing mapping "+name+": "+err.Error())
		}
	}
}
