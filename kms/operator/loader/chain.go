// Package loader computes what boot loaders measure of the files of a boot
// without a unified kernel image.
package loader

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"latchkey/initramfs/uki"
	"latchkey/kms/server/policy"
)

// A File is one that takes part in a boot.
type File struct {
	Name string
	Data []byte
}

// A Boot are the files of a boot without a unified kernel image.
type Boot struct {
	Kernel, Initrd File
	CommandLine    string // as /proc/cmdline has it
	Loaders        []File // that the firmware starts, and one another; none: it starts the kernel itself
	Read           []File // what else the boot loader reads, if that is GRUB
}

// Chain computes what the boot measures. It refuses boot loaders of which
// that is not known.
func (b Boot) Chain() (*policy.Chain, error) {
	c := &policy.Chain{Loader: policy.LoaderNone, Initrd: sha256.Sum256(b.Initrd.Data), CommandLine: commandLine(b.CommandLine)}
	for _, f := range b.Loaders {
		name, err := uki.Loader(f.Data)
		if err != nil {
			return nil, fmt.Errorf("boot loader %s: %w", f.Name, err)
		}
		if name != uki.Shim {
			c.Loader = map[string]string{uki.GRUB: policy.LoaderGRUB, uki.SystemdBoot: policy.LoaderSystemd}[name]
		}
	}
	if len(b.Loaders) > 0 && c.Loader == policy.LoaderNone {
		return nil, fmt.Errorf("boot loader %s: shim starts another one, GRUB or systemd-boot: name that, too", b.Loaders[0].Name)
	}
	if len(b.Read) > 0 && c.Loader != policy.LoaderGRUB {
		return nil, fmt.Errorf("%s: only what GRUB reads is measured", b.Read[0].Name)
	}

	for _, f := range append(b.Loaders[:len(b.Loaders):len(b.Loaders)], b.Kernel) {
		d, err := uki.Authenticode(f.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: it is no EFI program that firmware measures: %w", f.Name, err)
		}
		c.Programs = append(c.Programs, d)
	}
	// A device tree that a boot loader hands over is measured by nobody.
	if m := uki.Machine(b.Kernel.Data); m != "x64" {
		return nil, fmt.Errorf("%s: it is for %s, where a device tree that nothing measures could be handed over: build a UKI (docs/uki.md)", b.Kernel.Name, m)
	}
	if c.Loader == policy.LoaderGRUB {
		c.Kernel = sha256.Sum256(b.Kernel.Data)
		for _, f := range b.Read {
			c.Files = append(c.Files, sha256.Sum256(f.Data))
		}
	}
	return c, c.Check()
}

// commandLine is without the word that GRUB puts in front.
func commandLine(s string) string {
	s = strings.Trim(s, "\x00\n ")
	if first, rest, _ := strings.Cut(s, " "); strings.HasPrefix(first, "BOOT_IMAGE=") {
		return rest
	}
	return s
}
