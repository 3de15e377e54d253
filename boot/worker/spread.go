package worker

import (
	"fmt"
	"slices"
	"strings"

	"latchkey/boot/codes"
	"latchkey/internal/mapping"
	"latchkey/internal/order"
)

// A part is one device of a file system that is spread over several.
type part struct {
	name string // of the mapping
	id   uint64
}

// join has the kernel find all devices of a file system that is spread over several,
// as btrfs can be: opened volumes, or arrays and logical volumes on them. Nothing else is
// shown to it. flags are those of its mount.
func (in *inside) join(r root, flags string) error {
	if r.super.Devices < 2 {
		return nil
	}
	parts, err := in.parts(r)
	if err != nil {
		return err
	}
	order.By(parts, func(a, b part) int { return int(min(a.id, 1<<20)) - int(min(b.id, 1<<20)) })
	for i, p := range parts[1:] {
		if p.id == parts[i].id {
			return codes.Fail("btrfs-devices", "the file system %s: %s and %s are both its device %d: one is a copy", r.super.UUID, parts[i].name, p.name, p.id)
		}
	}

	w := in.worker
	if r.super.Devices != uint64(len(parts)) {
		err := fmt.Errorf("the file system %s is on %d devices, and %d of them in opened volumes: %s", r.super.UUID, r.super.Devices, len(parts), in.seen())
		if !slices.Contains(strings.Split(flags, ","), "degraded") {
			return codes.Fail("btrfs-devices", "%w", err)
		}
		w.waiting(codes.Fail("btrfs-devices", "%w; its flags say degraded", err))
	}
	w.loader.Named("btrfs")
	for _, p := range parts {
		if err := w.sys.Join(mapping.Path(p.name)); err != nil {
			return codes.Fail("btrfs-devices", "%w", err)
		}
	}
	return nil
}

// parts are the devices of a root that are there, each mapped.
func (in *inside) parts(r root) (all []part, err error) {
	for _, c := range in.open {
		if c.err == nil && c.super.Type == r.super.Type && c.super.UUID == r.super.UUID {
			all = append(all, part{c.name, c.super.DeviceID})
		}
	}
	for _, v := range in.set.Visible() {
		super, err := in.content(v)
		if err != nil || super.Type != r.super.Type || super.UUID != r.super.UUID {
			continue // what it is does not count here
		}
		if err := in.activate(v); err != nil {
			return nil, err
		}
		all = append(all, part{v.MappingName(), super.DeviceID})
	}
	return all, nil
}
