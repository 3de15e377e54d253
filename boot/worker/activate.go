package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/mapping"
	"latchkey/unlock/dm"
	"latchkey/unlock/lvm"
)

// activate maps a logical volume as lvm2 would, and before it the parts of a
// mirror.
func (in *inside) activate(v *lvm.Volume) error {
	if in.mapped[v.MappingName()] {
		return nil
	}
	if err := in.awaitLegs(v); err != nil {
		return err
	}
	if v.Blank() {
		return codes.Fail("lvm-blank", "logical volume %s: none of its legs has a superblock, and the kernel would write the first one over the others", v)
	}
	parts := v.Parts()
	if len(parts) > 0 {
		in.worker.loader.Named("dm-raid", "raid1")
	}
	for _, p := range parts {
		if err := in.mapOne(p, ""); err != nil {
			return err
		}
	}
	return in.mapOne(v, v.String())
}

// mapOne maps one logical volume, read-only if it is so or a volume under it
// is.
func (in *inside) mapOne(v *lvm.Volume, link string) error {
	rows, err := v.Table(func(name string) string {
		n, _ := in.worker.sys.Number(mapping.Path(name)) // one that is gone is 0:0, which the kernel refuses
		return fmt.Sprintf("%d:%d", n.Major, n.Minor)
	})
	if err != nil {
		return in.unusable(err)
	}
	l := dm.Logical{Name: v.MappingName(), UUID: v.MappingUUID(), Link: link, ReadOnly: v.ReadOnly, Rows: rows}
	for _, device := range v.Devices() {
		l.ReadOnly = l.ReadOnly || in.of(device).readOnly
	}
	if err := in.worker.sys.MapLogical(l); err != nil {
		return codes.Fail("mapping", "%w", err)
	}
	in.mapped[l.Name] = true
	return nil
}

// awaitLegs tells of the legs that a mirror lacks, and lets a volume come that
// may hold one, as long as an array of md would wait. One that comes is opened
// by another worker: this one has let go of its sources.
func (in *inside) awaitLegs(v *lvm.Volume) error {
	w, lacks := in.worker, v.Lacks()
	switch {
	case lacks == "":
		return nil
	case w.plan.Degraded < 0:
		return codes.Fail("lvm-missing", "%s; degraded is never in the plan", lacks)
	}
	if late := in.late(); late != "" {
		return codes.Fail("lvm-late", "volume %s has come, which may hold a part of %s: beginning again, with it", late, v)
	}
	w.waiting(codes.Fail("lvm-degraded", "%s", lacks))
	return nil
}

// late waits, once and as long as an array of md would, for one of the volumes
// whose device was not there, and names it; "" if none has come.
func (in *inside) late() string {
	if in.waited || len(in.absent) == 0 {
		return ""
	}
	in.waited = true
	w, wait := in.worker, in.worker.plan.Degraded
	if w.search.busy() || !w.driversLoaded() {
		wait += degradedPatience
	}
	return in.lateUntil(time.After(wait))
}

func (in *inside) lateUntil(over <-chan time.Time) string {
	w := in.worker
	for {
		for _, s := range w.search.look(context.Background()) {
			if s.disk != nil && slices.Contains(in.absent, s.volume.Name) {
				return s.volume.Name
			}
		}
		select {
		case <-w.blocks:
		case <-over:
			return ""
		}
	}
}
