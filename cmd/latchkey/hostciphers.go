package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"latchkey/internal/disk"
	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
)

// hostCiphers are the ciphers of a volume of this machine, none if it is not
// here or only root may read it.
func hostCiphers(dir, uuid string) []string {
	f, err := disk.Open(filepath.Join(dir, uuid), os.O_RDONLY)
	if err != nil {
		return nil
	}
	defer f.Close()
	h, err := luks2.Cryptsetup.Read(f, f.SizeBytes)
	if errors.Is(err, luks2.ErrLUKS1) {
		h, err = luks2.Cryptsetup.ReadLUKS1(f, f.SizeBytes)
	}
	if err != nil {
		return nil
	}
	return h.Ciphers()
}

// cipherWarnings names volumes of this machine that the boot will refuse for
// their ciphers or hashes. A volume that is not here, or that only root may
// read, is passed over.
func cipherWarnings(dir string, p *plan.Plan) (list []string) {
	for _, v := range p.Volumes {
		f, h, err := readVolume(filepath.Join(dir, v.UUID))
		if err != nil {
			continue
		}
		f.Close()
		if h.Accept() == luks2.Cryptsetup && v.Accept == "" {
			list = append(list, fmt.Sprintf("volume %s on this machine has %s and hashes that only accept: cryptsetup opens: write that line in latchkey.yaml if the volume is meant to have them", v.Name, strings.Join(h.Ciphers(), ", ")))
		}
	}
	return list
}
