package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// otherSuffix is behind the name of a distribution's initramfs that gave its
// place to ours.
const otherSuffix = ".distribution"

// keptAs is the name under which what is in the place is kept when another
// image takes it; "" if nothing is lost: there is none, or it is ours, was
// made after this machine started, and so has never booted while the old one
// has.
func (p place) keptAs() (string, error) {
	info, err := os.Lstat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return "", fmt.Errorf("%s is no file: move it away", p.path)
	case !isOurs(p.path):
		return p.path + otherSuffix, nil
	case p.unproven() && exists(p.old()):
		return "", nil
	}
	return p.old(), nil
}
