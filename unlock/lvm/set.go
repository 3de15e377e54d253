package lvm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/mapping"
)

// A Set is what is on the physical volumes that are there.
type Set struct {
	Groups []*Group
	// Problems are what is wrong with metadata that is not used. One group
	// that is broken leaves the others usable.
	Problems []error
}

// Assemble puts groups together from the newest metadata of each.
func Assemble(pvs []*PV) *Set {
	s := &Set{}
	var seen [][]byte
	for _, pv := range pvs {
		for _, bad := range pv.bad {
			s.Problems = append(s.Problems, &failure{ErrDamaged, bad.Error()})
		}
		for _, text := range pv.texts {
			if slices.ContainsFunc(seen, func(o []byte) bool { return bytes.Equal(o, text) }) {
				continue // as it should be: all areas of a group have the same
			}
			seen = append(seen, text)
			g, err := parseGroup(text)
			if err != nil {
				s.Problems = append(s.Problems, &failure{ErrDamaged, fmt.Sprintf("LVM metadata in %s: %v", pv.Device, err)})
				continue
			}
			s.add(g)
		}
	}
	for _, g := range s.Groups {
		g.find(pvs)
	}
	return s
}

// add takes a group's metadata if it is the newest.
func (s *Set) add(g *Group) {
	for i, o := range s.Groups {
		switch {
		case o.ID != g.ID:
			if o.Name == g.Name {
				g.namesake, o.namesake = true, true
			}
		case g.seqno > o.seqno:
			s.Groups[i] = g
			return
		case g.seqno == o.seqno:
			o.unusable = fmt.Sprintf("its physical volumes have different metadata, both number %d: vgck --updatemetadata", g.seqno)
			return
		default:
			return
		}
	}
	s.Groups = append(s.Groups, g)
}

// find finds the group's physical volumes among those that are there.
func (g *Group) find(pvs []*PV) {
	for _, p := range g.physical {
		for _, pv := range pvs {
			if pv.ID == p.id {
				p.found = pv
				p.clones = append(p.clones, pv.Device)
			}
		}
	}
}

// Find is a logical volume by the names of its group and its own; nil if
// there is none.
func (s *Set) Find(group, name string) *Volume {
	for _, g := range s.Groups {
		for _, v := range g.Volumes {
			if g.Name == group && v.Name == name {
				return v
			}
		}
	}
	return nil
}

// Visible are the logical volumes that people know.
func (s *Set) Visible() (all []*Volume) {
	for _, g := range s.Groups {
		for _, v := range g.Volumes {
			if !v.Hidden {
				all = append(all, v)
			}
		}
	}
	return all
}

// On tells whether a device is one of the group's physical volumes.
func (v *Volume) On(device string) bool {
	return slices.ContainsFunc(v.group.physical, func(p *physical) bool { return slices.Contains(p.clones, device) })
}

// Devices are the physical volumes that the volume lies on, each once.
func (v *Volume) Devices() (all []string) {
	for _, p := range append(v.Parts(), v) {
		for _, s := range p.segments {
			for _, a := range s.areas {
				if a.pv.found != nil && !slices.Contains(all, a.pv.found.Device) {
					all = append(all, a.pv.found.Device)
				}
			}
		}
	}
	return all
}

// Usable tells why the volume cannot be mapped here; nil if it can. The
// error wraps ErrUnsupported, ErrNames, ErrMissing or ErrDamaged.
func (v *Volume) Usable() error {
	if err := v.usable(); err != nil || v.owner == nil {
		return err
	}
	return v.fail(ErrUnsupported, "it is a part of another one")
}

// usable is Usable for the parts of mirrors, too.
func (v *Volume) usable() error {
	lacks := v.lacks
	if v.mirror != nil {
		lacks = v.mirror.lacks
	}
	switch {
	case v.group.namesake:
		return v.fail(ErrNames, "two volume groups have the name %s", v.group.Name)
	case v.group.unusable != "":
		return v.fail(ErrUnsupported, "%s", v.group.unusable)
	case v.other != "":
		return v.fail(ErrUnsupported, "%s: that needs lvm2 itself and is not supported yet", v.other)
	case mapping.CheckName(v.MappingName()) != nil:
		return v.fail(ErrUnsupported, "a mapping cannot have the name %s here: want at most %d bytes", v.MappingName(), mapping.MaxName)
	case v.Hidden && v.owner == nil:
		return v.fail(ErrUnsupported, "it is a part of another one")
	}
	switch err := lacks(); {
	case errors.Is(err, ErrDamaged):
		return v.fail(ErrDamaged, "%v", err)
	case errors.Is(err, ErrUnsupported):
		return v.fail(ErrUnsupported, "%v", err)
	case err != nil:
		return v.fail(ErrMissing, "%v", err)
	}
	return nil
}

func (v *Volume) fail(kind error, format string, args ...any) error {
	return &failure{kind, fmt.Sprintf("logical volume %s: ", v) + fmt.Sprintf(format, args...)}
}

// lacks tells what is wrong with the physical volumes that a volume's own
// segments are on.
func (v *Volume) lacks() error {
	for _, s := range v.segments {
		for _, a := range s.areas {
			if err := a.pv.usable(v.group.extent); err != nil {
				return err
			}
		}
	}
	return nil
}

// usable tells what is wrong with a physical volume.
func (p *physical) usable(extent int64) error {
	switch {
	case p.found == nil:
		return &failure{ErrMissing, fmt.Sprintf("its physical volume %s is in none of the opened volumes (it was on %.64q)", p.id, p.hint)}
	case len(p.clones) > 1:
		return &failure{ErrDamaged, fmt.Sprintf("%d opened volumes carry its physical volume %s: %s", len(p.clones), p.id, strings.Join(p.clones, ", "))}
	case p.gone:
		return &failure{ErrMissing, fmt.Sprintf("its physical volume %s in %s was missing when the group was changed last: if its data is good, vgextend --restoremissing", p.id, p.found.Device)}
	case (p.start+p.count*extent)*sectorBytes > p.found.SizeBytes:
		return &failure{ErrDamaged, fmt.Sprintf("its physical volume %s in %s needs %d bytes, and there are %d", p.id, p.found.Device, (p.start+p.count*extent)*sectorBytes, p.found.SizeBytes)}
	}
	return nil
}
