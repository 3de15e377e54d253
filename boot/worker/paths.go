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
	"latchkey/internal/mapping"
	"latchkey/internal/plan"
	"latchkey/unlock/dm"
)

// pathsWait is how long the mapping of a disk with several paths may take.
const pathsWait = 30 * time.Second

// several judges devices that carry one volume: ways to one disk, the best
// first, or an error. Only the disk's own identity makes them that. A header
// proves nothing, for a copy has the same. what says how the devices were found.
func several(v plan.Volume, fit []probed, what string) ([]probed, error) {
	first := fit[0].block
	same := func(of func(device.Block) string) bool {
		return of(first) != "" && !slices.ContainsFunc(fit[1:], func(p probed) bool {
			b := p.block
			return of(b) != of(first) || b.SizeBytes != first.SizeBytes || b.Partition != first.Partition || b.FromBytes != first.FromBytes || b.Disk == first.Disk
		})
	}
	var names []string
	for _, p := range fit {
		names = append(names, fmt.Sprintf("%s serial %q", p.block.Path, p.block.Serial))
	}
	list := strings.Join(names, ", ")
	switch {
	case same(func(b device.Block) string { return b.WWID }):
	case same(weak):
		return nil, codes.Fail("volume-multipath", "%s: they are paths to one disk, or copies with its serial number, and no WWID tells which; %s is opened over none", list, v.Name)
	default:
		return nil, codes.Fail("volume-clones", "%d devices %s: %s", len(fit), what, list)
	}

	// The best are first. A path whose header cannot be read is left to
	// multipathd.
	var paths []probed
	for rank := range 3 {
		for _, p := range fit {
			if p.block.Rank == rank && p.err == nil {
				paths = append(paths, p)
			}
		}
	}
	if len(paths) == 0 {
		return fit, nil
	}
	best := paths[0].header
	for _, p := range paths[1:] {
		if best != nil && (p.header.SeqID() != best.SeqID() || p.header.SubsetDigest() != best.SubsetDigest()) {
			return nil, codes.Fail("volume-clones", "%s say that they are the disk %s, and have different headers: one is a copy", list, first.WWID)
		}
	}
	return paths, nil
}

// weak is what a disk without an identity is known by.
func weak(b device.Block) string {
	if b.WWID != "" {
		return ""
	}
	return b.Serial
}

// joinPaths maps the disks that are reached in several ways, and those that
// the plan knows as such, and opens the volumes over these mappings. Where that
// fails one path has to do: the machine would not start otherwise.
func (w *worker) joinPaths(ctx context.Context, disks []*disk) {
	if _, others := w.sys.(Keyholder); others {
		return
	}
	for _, d := range disks {
		name, known := w.plan.PathsOf(d.block.WWID)
		if len(d.paths) < 2 && !known {
			continue
		}
		_, err := step(ctx, w, "paths", pathsWait, func(context.Context) (struct{}, string, error) {
			detail := fmt.Sprintf("%s wwid=%s paths=%d", d.Name, d.block.WWID, len(d.paths))
			if w.plan.NoPaths {
				return struct{}{}, detail, codes.Fail("multipath-one", "rd.multipath=0 is on the kernel command line")
			}
			return struct{}{}, detail, w.mapPaths(d, cmp.Or(name, mapping.MultipathName(d.block.WWID)))
		})
		if err != nil {
			w.waiting(codes.Fail("multipath-one", "%s is opened over %s alone: %w", d.Name, d.Device, err))
		}
	}
}

// gain takes the paths to a disk that are there now, if it is not mapped, and
// tells whether there are more.
func (d *disk) gain(paths []device.Block) bool {
	if d.Device != d.block.Path || len(paths) <= len(d.paths) {
		return false
	}
	d.paths = paths
	return true
}

// mapPaths maps the disk that a volume is on, and its partition.
func (w *worker) mapPaths(d *disk, name string) error {
	blocks, err := w.sys.Blocks()
	if err != nil {
		return err
	}
	p := dm.Paths{Name: name, WWID: d.block.WWID}
	for _, path := range d.paths {
		i := slices.IndexFunc(blocks, func(b device.Block) bool { return b.Name == path.Disk && b.WWID == path.WWID })
		if i < 0 {
			return fmt.Errorf("the disk %s is gone", path.Disk)
		}
		whole := blocks[i]
		p.On, p.Sectors = append(p.On, dm.Number{Major: whole.Major, Minor: whole.Minor}), uint64(whole.SizeBytes/512)
		p.ALUA = p.ALUA || whole.ALUA
	}
	if n := d.block.Partition; n > 0 {
		p.Part = dm.Part{Number: n, Start: uint64(d.block.FromBytes / 512), Sectors: uint64(d.block.SizeBytes / 512)}
	}

	w.loader.Named("dm-multipath", "dm-service-time")
	if p.ALUA {
		w.loader.Named("scsi_dh_alua")
	}
	err = w.sys.MapPaths(p)
	if err != nil && p.ALUA { // the kernel has no handler, perhaps
		p.ALUA = false
		err = w.sys.MapPaths(p)
	}
	if err == nil {
		d.Device = mapping.Path(mapping.PartName(name, d.block.Partition))
	}
	return err
}
