package main

import (
	"encoding/hex"
	"errors"
	"path/filepath"

	"latchkey/initramfs"
	"latchkey/internal/cloudconfig"
)

// byLabel is where this machine's volumes are found by the labels of their
// headers: udev's links.
const byLabel = "/dev/disk/by-label"

// addKairos takes the encrypted partitions of cloud-configs, with the headers
// that are found in a folder of devices. A file that cannot be read is an
// error here: an image is built once.
func addKairos(c *initramfs.Config, dir, devices string) error {
	var bad []error
	k, err := cloudconfig.Read([]string{dir}, func(err error) {
		if errors.Is(err, cloudconfig.ErrUnread) {
			bad = append(bad, err)
		}
	})
	if err := errors.Join(append(bad, err)...); err != nil {
		return err
	}
	return c.AddKairos(dir, k, func(label string) (initramfs.TalosHeader, error) {
		f, h, err := readVolume(filepath.Join(devices, label))
		if err != nil {
			return initramfs.TalosHeader{}, err
		}
		defer f.Close()
		digest := h.SubsetDigest()
		return initramfs.TalosHeader{UUID: h.UUID(), Digest: hex.EncodeToString(digest[:])}, nil
	})
}
