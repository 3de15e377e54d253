package lvm

import (
	"errors"
	"fmt"
	"slices"

	"latchkey/internal/mapping"
)

// Limits of a group. lvm2 has none of its own; its default metadata area
// holds some thousand logical volumes.
const (
	maxPVs      = 1024
	maxVolumes  = 10_000
	maxSegments = 50_000
	maxStripes  = 128     // MAX_STRIPES
	maxSectors  = 1 << 53 // of one device, in sectors of 512 bytes
	maxExtents  = 1 << 30 // of one device: an int has room for the sum of two
)

// A Group is a volume group, as its newest metadata has it.
type Group struct {
	Name    string
	ID      ID
	Volumes []*Volume // visible or not, in the order of the metadata

	seqno    int64
	extent   int64 // sectors of an extent
	physical []*physical
	unusable string // why none of it can be mapped
	namesake bool   // another group has its name
	segments int
}

// A physical is a physical volume as its group names it.
type physical struct {
	key    string // "pv0"
	id     ID
	hint   string // device that it was on last
	start  int64  // sector of its first extent
	count  int64  // extents
	gone   bool   // it was not there when the metadata was written
	found  *PV    // nil: in none of the devices
	clones []string
}

// parseGroup reads the metadata of one group.
func parseGroup(text []byte) (*Group, error) {
	top, err := parse(text)
	if err != nil {
		return nil, err
	}
	if c := top.string("contents"); c != "Text Format Volume Group" || len(top.names) != 1 {
		return nil, fmt.Errorf("it is not the metadata of a volume group")
	}
	if _, err := top.number("version", 1, 1); err != nil {
		return nil, err
	}

	g := &Group{Name: top.names[0]}
	if !mapping.IsLVMName(g.Name) {
		return nil, fmt.Errorf("%.64q cannot be the name of a volume group", g.Name)
	}
	if err := g.read(top.sections[g.Name]); err != nil {
		return nil, fmt.Errorf("volume group %s: %w", g.Name, err)
	}
	return g, nil
}

func (g *Group) read(s *section) (err error) {
	var ok bool
	if g.ID, ok = parseID(s.string("id")); !ok {
		return errors.New("it has no id")
	}
	if g.seqno, err = s.number("seqno", 0, 1<<32); err != nil {
		return err
	}
	if g.extent, err = s.number("extent_size", 1, 1<<32); err != nil {
		return err
	}
	switch lock := s.string("lock_type"); {
	case s.has("status", "EXPORTED"):
		g.unusable = "the group is exported: vgimport"
	case lock != "" && lock != "none":
		g.unusable = "the group is shared between machines (lock_type " + lock + ")"
	}

	if err := g.readPhysical(s.sections["physical_volumes"]); err != nil {
		return err
	}
	if volumes := s.sections["logical_volumes"]; volumes != nil { // a new group has none
		if err := g.readVolumes(volumes); err != nil {
			return err
		}
	}
	if err := g.overlaps(); err != nil {
		return err
	}
	if err := g.joinMirrors(s.sections["logical_volumes"]); err != nil {
		return err
	}
	return g.references(s.sections["logical_volumes"])
}

func (g *Group) readPhysical(list *section) error {
	if list == nil || len(list.names) == 0 || len(list.names) > maxPVs {
		return fmt.Errorf("want 1 to %d physical volumes", maxPVs)
	}
	for _, key := range list.names {
		s := list.sections[key]
		p := &physical{key: key, hint: s.string("device"), gone: s.has("flags", "MISSING") || s.has("status", "MISSING")}
		var ok bool
		if p.id, ok = parseID(s.string("id")); !ok {
			return fmt.Errorf("%.64q has no id", key)
		}
		if slices.ContainsFunc(g.physical, func(o *physical) bool { return o.id == p.id }) {
			return fmt.Errorf("the physical volume %s stands twice", p.id)
		}

		var err error
		if p.start, err = s.number("pe_start", 0, maxSectors); err != nil {
			return fmt.Errorf("%.64q: %w", key, err)
		}
		if p.count, err = s.number("pe_count", 0, min(maxExtents, (maxSectors-p.start)/g.extent)); err != nil {
			return fmt.Errorf("%.64q: %w", key, err)
		}
		g.physical = append(g.physical, p)
	}
	return nil
}

func (g *Group) pv(key string) *physical {
	for _, p := range g.physical {
		if p.key == key {
			return p
		}
	}
	return nil
}

// A use is a run of extents of a physical volume, and the volume there.
type use struct {
	end int
	by  string
}

// overlaps refuses two areas of one physical volume that share an extent.
func (g *Group) overlaps() error {
	for _, p := range g.physical {
		var begins []int
		uses := map[int]use{}
		for _, v := range g.Volumes {
			for _, s := range v.segments {
				for _, a := range s.areas {
					if a.pv != p {
						continue
					}
					begin := int(a.extent)
					begins, uses[begin] = append(begins, begin), use{begin + int(s.perArea()), v.Name}
				}
			}
		}

		slices.Sort(begins)
		for i := 1; i < len(begins); i++ {
			if before, next := uses[begins[i-1]], uses[begins[i]]; begins[i] < before.end {
				return fmt.Errorf("%s and %s overlap in extent %d of %.64q", before.by, next.by, begins[i], p.key)
			}
		}
	}
	return nil
}

// references finds the logical volumes that others name: the origin of a
// snapshot, say, may be written through the snapshot's table only.
func (g *Group) references(list *section) error {
	byName := map[string]*Volume{}
	for _, v := range g.Volumes {
		byName[v.Name] = v
	}
	for _, user := range g.Volumes {
		for _, s := range list.sections[user.Name].sections {
			for key, values := range s.values {
				if key == "type" || key == "tags" || key == "raids" && user.mirror != nil {
					continue
				}
				for _, v := range values {
					if used := byName[v.text]; used != nil && used != user && !v.digits && g.pv(v.text) == nil && used.other == "" {
						used.other = fmt.Sprintf("%s, of type %.32q, uses it", user.Name, s.string("type"))
					}
				}
			}
		}
	}
	return nil
}
