package lvm

import (
	"fmt"
	"io"
	"strings"
)

// A Row is one target of a device-mapper table, in sectors.
type Row struct {
	Start, Sectors uint64
	Type, Params   string
}

// Table is the volume's table as lvm2 has it: _add_linear_target_line and
// the like in libdm/libdm-deptree.c. number gives the number of a device,
// such as 253:0, by its name or by that of the mapping of one of Parts. What
// cannot be mapped has the error of Usable, but parts of mirrors can.
func (v *Volume) Table(number func(device string) string) ([]Row, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	if v.mirror != nil {
		return []Row{v.mirrorRow(number)}, nil
	}
	var rows []Row
	for _, s := range v.segments {
		r := Row{Start: uint64(s.start * v.group.extent), Sectors: uint64(s.count * v.group.extent), Type: "linear"}
		var areas []string
		for _, a := range s.areas {
			areas = append(areas, fmt.Sprintf("%s %d", number(a.pv.found.Device), a.sector(v.group)))
		}
		r.Params = strings.Join(areas, " ")
		if len(areas) > 1 {
			r.Type, r.Params = "striped", fmt.Sprintf("%d %d %s", len(areas), s.stripe, r.Params)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// sector is where an area begins on its device.
func (a area) sector(g *Group) int64 { return a.pv.start + a.extent*g.extent }

// ReadAt reads the volume without a mapping: what is in it can be told
// before anything is activated.
func (v *Volume) ReadAt(b []byte, off int64) (n int, err error) {
	if err := v.usable(); err != nil {
		return 0, err
	}
	if v.mirror != nil {
		return v.mirror.newest().read(b, off)
	}
	return v.read(b, off)
}

// read is ReadAt of a volume with segments of its own that can be used.
func (v *Volume) read(b []byte, off int64) (n int, err error) {
	for len(b) > 0 {
		pv, at, left, ok := v.locate(off)
		if !ok {
			return n, io.EOF
		}
		part := b[:min(int64(len(b)), left)]
		m, err := pv.disk.ReadAt(part, at)
		n += m
		if m < len(part) {
			return n, err
		}
		b, off = b[m:], off+int64(m)
	}
	return n, nil
}

// locate is where a byte of the volume lies, and how many follow it there.
func (v *Volume) locate(off int64) (pv *PV, at, left int64, ok bool) {
	extent := v.group.extent * sectorBytes
	for _, s := range v.segments {
		in := off - s.start*extent
		if off < 0 || in < 0 || in >= s.count*extent {
			continue
		}
		which, left := int64(0), s.count*extent-in
		if n := int64(len(s.areas)); n > 1 {
			chunk := s.stripe * sectorBytes
			which, left = in/chunk%n, chunk-in%chunk
			in = in/(chunk*n)*chunk + in%chunk
		}
		a := s.areas[which]
		return a.pv.found, a.sector(v.group)*sectorBytes + in, left, true
	}
	return nil, 0, 0, false
}
