package initramfs

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// An ImageConfig is the section "image" of latchkey.yaml: what "image
// update" writes for each kernel of the machine. In paths {version} stands
// for the kernel's version.
type ImageConfig struct {
	// Initrd is the initramfs that the boot loader loads, by default
	// /boot/initrd.img-{version}. It is not written where UKI is set.
	Initrd string `yaml:"initrd"`
	// UKI is the unified kernel image, as in
	// /boot/efi/EFI/Linux/latchkey-{version}.efi.
	UKI string `yaml:"uki"`
	// Kernel goes into it, by default /boot/vmlinuz-{version}.
	Kernel string `yaml:"kernel"`
	// Cmdline is its command line, by default that of /etc/kernel/cmdline.
	Cmdline string `yaml:"cmdline"`

	// DTB is a device tree for the kernel, SBAT are lines for the stub's
	// section of that name, or @FILE.
	DTB  string `yaml:"dtb"`
	SBAT string `yaml:"sbat"`

	// BootKey and BootCert sign it for Secure Boot: PEM files, or a pkcs11:
	// URI for the key. PCRKey signs its PCR 11, for PCRPhases; PCRSignature is
	// where that signature is written for the key server.
	BootKey      string `yaml:"boot-key"`
	BootCert     string `yaml:"boot-cert"`
	PCRKey       string `yaml:"pcr-key"`
	PCRSignature string `yaml:"pcr-signature"`
	// PCRPhases are words joined by ":", by default enter-initrd alone.
	PCRPhases []string `yaml:"pcr-phases"`
}

// For returns the section with the defaults and one kernel's version in it.
func (c ImageConfig) For(version string) ImageConfig {
	c.Kernel = cmp.Or(c.Kernel, "/boot/vmlinuz-{version}")
	c.Initrd = cmp.Or(c.Initrd, "/boot/initrd.img-{version}")
	for _, p := range []*string{&c.Initrd, &c.UKI, &c.Kernel, &c.DTB, &c.PCRSignature} {
		*p = strings.ReplaceAll(*p, "{version}", version)
	}
	return c
}

// check says which field could not work.
func (c ImageConfig) check() error {
	for _, f := range []struct {
		name, path string
		versioned  bool
	}{
		{"initrd", c.Initrd, true},
		{"uki", c.UKI, true},
		{"kernel", c.Kernel, true},
		{"dtb", c.DTB, false},
		{"boot-cert", c.BootCert, false},
		{"pcr-key", c.PCRKey, false},
		{"pcr-signature", c.PCRSignature, false},
	} {
		switch {
		case f.path == "":
		case !filepath.IsAbs(f.path):
			return fmt.Errorf("image.%s: %q is not an absolute path", f.name, f.path)
		case f.versioned && !strings.Contains(f.path, "{version}"):
			return fmt.Errorf("image.%s: %q has no {version}: the kernels would overwrite each other's", f.name, f.path)
		}
	}

	switch {
	case (c.BootKey == "") != (c.BootCert == ""):
		return errors.New("image.boot-key and image.boot-cert go together")
	case c.PCRSignature != "" && c.PCRKey == "":
		return errors.New("image.pcr-signature needs image.pcr-key")
	case len(c.PCRPhases) > 0 && c.PCRKey == "":
		return errors.New("image.pcr-phases needs image.pcr-key")
	case len(c.PCRPhases) > 0 && !slices.Contains(c.PCRPhases, "enter-initrd"):
		return errors.New("image.pcr-phases lacks enter-initrd: the key server would refuse this image")
	case c.UKI == "" && (c.DTB != "" || c.SBAT != "" || c.BootKey != "" || c.PCRKey != "" || c.Cmdline != ""):
		return errors.New("image.uki is missing: keys, command line and device tree belong to a unified kernel image")
	}
	return nil
}
