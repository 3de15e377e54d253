package main

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writable tells whether all can be written that setup writes, before a
// volume is enrolled: a read-only /boot would end it in the middle.
func (o *setup) writable(m *machine) error {
	paths, err := o.imagePaths(m)
	if err != nil {
		return err
	}
	for _, path := range append(paths, defaultConfig, statePath) {
		dir := filepath.Dir(o.update.entry(path))
		for !exists(dir) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir) // it will be made
		}
		if err := unix.Access(dir, unix.W_OK); err != nil {
			return fmt.Errorf("%s cannot be written to: %w; nothing was changed: mount it for writing, and run it again", dir, err)
		}
	}
	return nil
}
