package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/initramfs/bootentry"
	"latchkey/internal/datafile"
)

// imageAt is the file of an image: its name may have the counters of
// systemd-boot (UAPI.1, "Boot counting").
func imageAt(path string) string {
	if filepath.Ext(path) != ".efi" {
		return path
	}
	return cmp.Or(bootentry.Find(path), path)
}

// at is the image that is there.
func (p place) at() string { return imageAt(p.path) }

// counting is keeping where the boot loader counts: the new image gets its
// tries, and the one of before is kept if it was blessed, or if there is no
// other. There is one at each moment, since the one of before goes last.
func (p place) counting(tmp string, ours bool) error {
	target, before := bootentry.WithTries(p.path, p.tries), p.at()
	if ours && !(p.unproven() && exists(p.old())) {
		if err := os.Rename(before, p.old()); err != nil {
			return err
		}
	}
	if err := datafile.Replace(tmp, target); err != nil {
		return err
	}
	for _, other := range p.all() {
		if other == target {
			continue
		}
		if err := os.Remove(other); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// all are the files of the image, with whatever counters.
func (p place) all() []string {
	if filepath.Ext(p.path) != ".efi" {
		return []string{p.path}
	}
	return append(bootentry.Counted(p.path), p.path)
}
