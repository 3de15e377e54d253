package lvm

import (
	"errors"
	"fmt"

	"latchkey/internal/mapping"
)

// A Volume is a logical volume.
type Volume struct {
	Name     string
	ID       ID
	ReadOnly bool // lvm2 maps it read-only
	Hidden   bool // a part of another one

	group    *Group
	extents  int64
	segments []segment
	mirror   *mirror // instead of segments
	owner    *Volume // the mirror that it is a part of
	other    string  // why lvm2 itself is needed
}

// A segment is a run of extents of a volume, on one area or in stripes over
// several.
type segment struct {
	start, count int64 // extents
	stripe       int64 // sectors of a stripe, with several areas
	areas        []area
}

// An area is where a segment begins on a physical volume.
type area struct {
	pv     *physical
	extent int64
}

// perArea is how many extents a segment has on each area.
func (s segment) perArea() int64 { return s.count / int64(max(1, len(s.areas))) }

// String is the volume as people and lvm2 name it.
func (v *Volume) String() string { return v.group.Name + "/" + v.Name }

// MappingName is the name that lvm2 gives the mapping.
func (v *Volume) MappingName() string { return mapping.LogicalName(v.group.Name, v.Name) }

// MappingUUID is the device-mapper UUID that lvm2 gives it: build_dm_uuid in
// lib/activate/dev_manager.c. By it the real root's lvm2 knows the volume.
func (v *Volume) MappingUUID() string { return "LVM-" + string(v.group.ID) + string(v.ID) }

// SizeBytes is the volume's size.
func (v *Volume) SizeBytes() int64 { return v.extents * v.group.extent * sectorBytes }

// GroupName is the name of the volume's group.
func (v *Volume) GroupName() string { return v.group.Name }

func (g *Group) readVolumes(list *section) error {
	if len(list.names) > maxVolumes {
		return fmt.Errorf("it has %d logical volumes, the limit is %d", len(list.names), maxVolumes)
	}
	ids := map[ID]bool{}
	for _, name := range list.names {
		if !mapping.IsLVMName(name) {
			return fmt.Errorf("%.64q cannot be the name of a logical volume", name)
		}
		s := list.sections[name]
		v := &Volume{Name: name, group: g, ReadOnly: !s.has("status", "WRITE") && !s.has("flags", "WRITE_LOCKED"), Hidden: !s.has("status", "VISIBLE")}
		var ok bool
		if v.ID, ok = parseID(s.string("id")); !ok || ids[v.ID] {
			return fmt.Errorf("logical volume %s has no id of its own", name)
		}
		ids[v.ID] = true
		if err := v.readSegments(s); err != nil {
			return fmt.Errorf("logical volume %s: %w", name, err)
		}
		g.Volumes = append(g.Volumes, v)
	}
	return nil
}

// readSegments reads segment1 to segmentN, which follow each other.
func (v *Volume) readSegments(s *section) error {
	n, err := s.number("segment_count", 0, maxSegments)
	if err != nil {
		return err
	}
	if v.group.segments += int(n); v.group.segments > maxSegments {
		return fmt.Errorf("the group has more than %d segments", maxSegments)
	}
	if n == 0 {
		v.other = "it has no segment"
	}
	for i := int64(1); i <= n; i++ {
		name := fmt.Sprint("segment", i)
		one := s.sections[name]
		if one == nil {
			return fmt.Errorf("there is no %s", name)
		}
		if err := v.readSegment(one); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (v *Volume) readSegment(s *section) error {
	most := maxSectors / v.group.extent
	start, err := s.number("start_extent", 0, most)
	if err != nil {
		return err
	}
	count, err := s.number("extent_count", 1, most-v.extents)
	if err != nil {
		return err
	}
	if start != v.extents {
		return fmt.Errorf("it begins at extent %d, want %d", start, v.extents)
	}
	v.extents += count

	kind := s.string("type")
	if kind == "raid1" && v.mirror == nil {
		return v.readMirror(s)
	}
	if kind != "striped" {
		if v.other == "" {
			v.other = fmt.Sprintf("it is of type %.32q", kind)
		}
		return nil
	}
	seg := segment{start: start, count: count}
	if err := seg.readStripes(v, s); err != nil {
		return err
	}
	v.segments = append(v.segments, seg)
	return nil
}

// readStripes reads the areas: pairs of a name and an extent.
func (seg *segment) readStripes(v *Volume, s *section) error {
	n, err := s.number("stripe_count", 1, maxStripes)
	if err != nil {
		return err
	}
	list := s.values["stripes"]
	if int64(len(list)) != 2*n || seg.count%n != 0 {
		return fmt.Errorf("%d extents in %d stripes, of which %d are named", seg.count, n, len(list)/2)
	}
	if n > 1 {
		if seg.stripe, err = s.number("stripe_size", 1, v.group.extent); err != nil {
			return err
		}
		if v.group.extent%seg.stripe != 0 {
			return fmt.Errorf("stripes of %d sectors in extents of %d", seg.stripe, v.group.extent)
		}
	}

	for i := 0; i < len(list); i += 2 {
		name, extent := list[i], list[i+1]
		pv := v.group.pv(name.text)
		switch {
		case name.digits || !extent.digits:
			return errors.New("the stripes are not pairs of a name and an extent")
		case pv == nil:
			v.other, seg.areas = fmt.Sprintf("it lies on the logical volume %.64q", name.text), nil // pvmove, say
			return nil
		case extent.number < 0 || extent.number > pv.count-seg.count/n:
			return fmt.Errorf("%d extents from %d on reach outside of %.64q, which has %d", seg.count/n, extent.number, name.text, pv.count)
		}
		seg.areas = append(seg.areas, area{pv, extent.number})
	}
	return nil
}
