package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"latchkey/initramfs"
)

// byPartLabel is where this machine's partitions are found by their labels:
// udev's links.
const byPartLabel = "/dev/disk/by-partlabel"

// addTalos takes the volumes of a configuration of Talos, with the headers
// that are found in a folder of partitions.
func addTalos(c *initramfs.Config, path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading Talos' configuration: %w", err)
	}
	defer f.Close()
	volumes, err := initramfs.ReadTalos(path, f)
	if err != nil {
		return err
	}
	return c.AddTalos(path, volumes, func(label string) (initramfs.TalosHeader, error) {
		device := filepath.Join(dir, label)
		f, h, err := readVolume(device)
		if errors.Is(err, fs.ErrNotExist) {
			return initramfs.TalosHeader{}, fmt.Errorf("this machine has no partition with that label (%s)", device)
		}
		if err != nil {
			return initramfs.TalosHeader{}, err
		}
		defer f.Close()
		digest := h.SubsetDigest()
		return initramfs.TalosHeader{UUID: h.UUID(), Digest: hex.EncodeToString(digest[:])}, nil
	})
}
