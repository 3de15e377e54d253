package lvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/mapping"
)

// maxLegs is DEFAULT_RAID1_MAX_IMAGES in lvm2's lib/config/defaults.h.
const maxLegs = 10

// A mirror is a segment of type raid1: all of the volume on each of its legs.
type mirror struct {
	names                        []string // metadata and image of each leg
	legs                         []leg
	region                       int64 // sectors that a bit of the bitmap stands for
	minRate, maxRate, writeDelay int64 // 0 is the kernel's; KiB/s and sectors
}

// A leg is one copy: logical volumes that nobody else uses.
type leg struct {
	meta, image *Volume
	writeMostly bool
}

// partWords are the flags that a part of a mirror may have. With others lvm2
// is in the middle of a change: _lv_flags in lib/format_text/flags.c.
var partWords = []string{"READ", "WRITE", "WRITEMOSTLY"}

// readMirror reads what lib/raid/raid.c writes, _raid_text_export_raid.
func (v *Volume) readMirror(s *section) error {
	n, err := s.number("device_count", 2, maxLegs)
	if err != nil {
		return err
	}
	m := &mirror{}
	for _, name := range s.values["raids"] {
		m.names = append(m.names, name.text)
	}
	if int64(len(m.names)) != 2*n {
		return fmt.Errorf("%d legs, and %d parts are named", n, len(m.names))
	}
	if m.region, err = s.number("region_size", 1, 1<<30); err != nil {
		return err
	}
	for name, to := range map[string]*int64{"min_recovery_rate": &m.minRate, "max_recovery_rate": &m.maxRate, "writebehind": &m.writeDelay} {
		if s.values[name] == nil {
			continue
		}
		if *to, err = s.number(name, 0, 1<<31); err != nil {
			return err
		}
	}

	switch {
	case m.region&(m.region-1) != 0:
		return fmt.Errorf("region_size is %d, want a power of two", m.region)
	case s.values["data_offset"] != nil:
		v.other = "it is being reshaped"
	}
	v.mirror = m
	return nil
}

// joinMirrors finds the parts of mirrors. Each is a logical volume of one
// mirror, on physical volumes alone.
func (g *Group) joinMirrors(list *section) error {
	byName := map[string]*Volume{}
	for _, v := range g.Volumes {
		byName[v.Name] = v
	}
	for _, v := range g.Volumes {
		if v.mirror == nil {
			continue
		}
		if len(v.segments) > 0 || list.sections[v.Name].sections["segment2"] != nil {
			v.other = "it is of type \"raid1\" and others"
		}
		for i := 0; i < len(v.mirror.names); i += 2 {
			l := leg{meta: byName[v.mirror.names[i]], image: byName[v.mirror.names[i+1]]}
			for j, part := range []*Volume{l.meta, l.image} {
				if part == nil {
					return fmt.Errorf("%s has the part %.64q, which is not there", v.Name, v.mirror.names[i+j])
				}
				if err := v.takePart(part, list.sections[part.Name]); err != nil {
					return err
				}
			}
			if l.image.extents != v.extents {
				return fmt.Errorf("%s has %d extents, and its part %s has %d", v.Name, v.extents, l.image.Name, l.image.extents)
			}
			l.writeMostly = list.sections[l.image.Name].has("status", "WRITEMOSTLY")
			v.mirror.legs = append(v.mirror.legs, l)
		}
	}
	return nil
}

// takePart makes a logical volume a part of a mirror.
func (v *Volume) takePart(part *Volume, s *section) error {
	if part.owner != nil || part == v {
		return fmt.Errorf("%s has the part %s, which is taken", v.Name, part.Name)
	}
	part.owner = v
	switch {
	case v.other != "":
	case !part.Hidden:
		v.other = fmt.Sprintf("its part %s is split off", part.Name)
	case part.mirror != nil || part.other != "":
		v.other = fmt.Sprintf("its part %s is no plain one", part.Name)
	}
	for _, w := range slices.Concat(s.values["status"], s.values["flags"]) {
		if v.other == "" && !slices.Contains(partWords, w.text) {
			v.other = fmt.Sprintf("its part %s has the flag %.32q", part.Name, w.text)
		}
	}
	return nil
}

// Parts are the logical volumes that must be mapped before this one: those of
// the legs that are there.
func (v *Volume) Parts() (parts []*Volume) {
	if v.mirror == nil {
		return nil
	}
	for _, l := range v.mirror.legs {
		if v.mirror.lost(l) == nil {
			parts = append(parts, l.meta, l.image)
		}
	}
	return parts
}

// Lacks says what a mirror that can be mapped does without; "" if it is whole.
func (v *Volume) Lacks() string {
	if v.mirror == nil {
		return ""
	}
	var lines []string
	for _, l := range v.mirror.legs {
		if err := v.mirror.lost(l); err != nil {
			lines = append(lines, fmt.Sprintf("%s: %v", l.image.Name, err))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprintf("logical volume %s runs without %d of its %d legs; %s", v, len(lines), len(v.mirror.legs), strings.Join(lines, "; "))
}

// lacks tells why no leg can be mapped; nil if one can. What contradicts
// itself is no leg that is missing.
func (m *mirror) lacks() (err error) {
	there := 0
	for _, l := range m.legs {
		switch e := l.lacks(); {
		case e == nil:
			there++
		case !errors.Is(e, ErrMissing):
			return e
		case err == nil:
			err = e
		}
	}
	if there > 0 {
		return nil
	}
	return err
}

func (l leg) lacks() error {
	for _, part := range []*Volume{l.meta, l.image} {
		if name := part.MappingName(); mapping.CheckName(name) != nil {
			return &failure{ErrUnsupported, fmt.Sprintf("a mapping cannot have the name %s here: want at most %d bytes", name, mapping.MaxName)}
		}
		if part.other != "" {
			return &failure{ErrUnsupported, fmt.Sprintf("its part %s: %s", part.Name, part.other)}
		}
		if err := part.lacks(); err != nil {
			return err
		}
	}
	return nil
}

// mirrorRow is the target: _raid_emit_segment_line in libdm/libdm-deptree.c,
// and in the kernel Documentation/admin-guide/device-mapper/dm-raid.rst. A leg
// that is not there is "- -".
func (v *Volume) mirrorRow(number func(device string) string) Row {
	m := v.mirror
	words := []string{}
	add := func(name string, value int64) { words = append(words, name, fmt.Sprint(value)) }
	if m.minRate > 0 {
		add("min_recovery_rate", m.minRate)
	}
	if m.maxRate > 0 {
		add("max_recovery_rate", m.maxRate)
	}
	areas := []string{}
	for i, l := range m.legs {
		if l.writeMostly {
			add("write_mostly", int64(i))
		}
		if m.lost(l) != nil {
			areas = append(areas, "-", "-")
			continue
		}
		areas = append(areas, number(l.meta.MappingName()), number(l.image.MappingName()))
	}
	if m.writeDelay > 0 {
		add("max_write_behind", m.writeDelay)
	}
	add("region_size", m.region)
	return Row{
		Sectors: uint64(v.extents * v.group.extent), Type: "raid",
		Params: fmt.Sprintf("raid1 %d 0 %s %d %s", len(words)+1, strings.Join(words, " "), len(m.legs), strings.Join(areas, " ")),
	}
}

// newest is the image of the leg that is written to last, by the superblocks;
// the first one if there are none. One that is still being filled counts less.
func (m *mirror) newest() (image *Volume) {
	var events, filled uint64
	for _, l := range m.legs {
		if l.lacks() != nil {
			continue
		}
		var e, f uint64
		if b, ok := l.super(); ok {
			e, f = binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[32:])
		}
		if image == nil || e > events || e == events && f > filled {
			image, events, filled = l.image, e, f
		}
	}
	return image
}

// super is the kernel's superblock of a leg (drivers/md/dm-raid.c): magic,
// features, devices, position, events, failed, recovery_offset.
func (l leg) super() (b [40]byte, ok bool) {
	n, _ := l.meta.read(b[:], 0)
	return b, n == len(b) && string(b[:4]) == "DmRd"
}

// supers is how many of the legs that are there have a superblock.
func (m *mirror) supers() (with, there int) {
	for _, l := range m.legs {
		if l.lacks() != nil {
			continue
		}
		there++
		if _, ok := l.super(); ok {
			with++
		}
	}
	return with, there
}

// lost tells why a leg cannot be used; nil if it can. One without a superblock
// beside one that has it is lost, too: the kernel maps no mirror with it
// (super_init_validation: "New device injected"), but does without it.
func (m *mirror) lost(l leg) error {
	if err := l.lacks(); err != nil {
		return err
	}
	if _, ok := l.super(); ok {
		return nil
	}
	if with, _ := m.supers(); with > 0 {
		return &failure{ErrMissing, fmt.Sprintf("its part %s has no superblock", l.meta.Name)}
	}
	return nil
}

// Blank tells whether none of several legs has a superblock. lvm2 and the
// kernel write them when they make a mirror. Without any, both would take the
// first leg for the right one and write it over the others, and nobody knows
// that it is.
func (v *Volume) Blank() bool {
	if v.mirror == nil {
		return false
	}
	with, there := v.mirror.supers()
	return with == 0 && there > 1
}
