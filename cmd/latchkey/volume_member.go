package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock/md"
)

// memberOf says of which software RAID a device or image is a member, with
// what to do, and is nil if it is none. With the superblock at its end (0.90,
// 1.0, firmware's) a half of a mirror begins with the header of the volume
// that the mirror holds: what is written there makes the halves differ. The
// rule is that of the boot, which looks at nothing else in a member. A
// superblock that is a partition's own is none of the disk's: where a header
// of LUKS begins, no partition table does.
func memberOf(f *disk.File) error {
	m, err := md.Read(f, f.Name(), f.SizeBytes)
	switch {
	case errors.Is(err, md.ErrNone):
		return nil
	case err != nil:
		return fmt.Errorf("it is a member of an array: %w", err)
	case m.UUID == "":
		return fmt.Errorf("%s is a member of an array of firmware (%s): use the array's device", f.Name(), m.Version)
	}
	device := "/dev/mdN (mdadm --assemble --scan makes it)"
	if running, err := filepath.EvalSymlinks("/dev/disk/by-id/md-uuid-" + m.UUID); err == nil {
		device = running
	}
	return fmt.Errorf("%s is a member of the array %s: use %s; if there is no such array any more: mdadm --zero-superblock %s", f.Name(), m.UUID, device, f.Name())
}

// notMember refuses to change, or to map, what is one half of a mirror.
func notMember(f *disk.File) error {
	if err := memberOf(f); err != nil {
		return &cli.Exit{Code: cli.Rejected, Err: err}
	}
	return nil
}

// memberWarnings is what those who only read say of it.
func memberWarnings(f *disk.File) []string {
	if err := memberOf(f); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func warnMember(stderr io.Writer, f *disk.File) {
	for _, text := range memberWarnings(f) {
		fmt.Fprintln(stderr, "warning:", text)
	}
}
