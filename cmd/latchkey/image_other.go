package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// otherSuffix is behind the name of a distribution's initramfs that gave its
// place to ours.
const otherSuffix = ".distribution"

// keepOther keeps the initramfs that is in the place of ours under another
// name, unless it is ours. A second name for the same file needs no room and
// leaves the first; a file system without links (FAT) gets a copy.
func keepOther(path string) error {
	_, err := readPlan(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil {
		return nil
	}

	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+otherSuffix)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(path, next); err != nil {
		if err := copyImage(path, next); err != nil {
			return errors.Join(err, os.Remove(next))
		}
	}
	return os.Rename(next, path+otherSuffix)
}

// copyImage has its copy on the disk when it returns.
func copyImage(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
