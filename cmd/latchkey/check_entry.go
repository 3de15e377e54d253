package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/initramfs/bootentry"
)

// partitions are where an EFI system partition and a boot partition are
// mounted: systemd-gpt-auto-generator(8), and distributions before it.
var partitions = []string{"/efi", "/boot/efi", "/boot"}

// entries tells whether the boot loader starts an image of ours by itself, and
// what there is if that does not boot.
func (c *checker) entries(plans []checkedPlan) {
	if len(plans) == 0 || c.cannotSee("entry", "", "/boot") {
		return
	}
	m, err := bootentry.Read(c.update.root, partitions)
	switch {
	case errors.Is(err, bootentry.ErrNoLoader):
		c.warn("entry", "", "see that your boot loader starts "+plans[len(plans)-1].path+" by itself", "not judged: %v", err)
		return
	case err != nil:
		c.warn("entry", "", "correct the file", "not judged: reading the boot entries: %v", err)
		return
	case m.Default < 0:
		c.warn("entry", "", "see that an entry with "+plans[len(plans)-1].path+" is the default", "not judged: which of its %d entries %s starts by itself", len(m.Entries), m.Loader)
		return
	}
	if p, ok := c.entry(m, m.Entries[m.Default], plans); ok {
		c.lastGood(m, p)
	}
}

// entry judges the entry that is started by itself.
func (c *checker) entry(m *bootentry.Menu, e bootentry.Entry, plans []checkedPlan) (p checkedPlan, ok bool) {
	menu := fmt.Sprintf("%s starts it by itself (%s)", m.Loader, m.Why)
	remedy := entryRemedy(m.Loader)
	same := func(p checkedPlan) bool { return sameFile(p.path, e.Image) }
	i := slices.IndexFunc(plans, same)
	switch {
	case e.Image == "":
		c.fail("entry", e.ID, remedy, "%s, and it loads no initramfs", menu)
		return p, false
	case i < 0 && !isOurs(e.Image):
		c.fail("entry", e.ID, remedy, "%s, and it boots %s, which is not latchkey's: a person types a passphrase", menu, e.Image)
		return p, false
	case i < 0: // where kernel-install has put it
		var err error
		if p, _, err = c.read(e.Image); err != nil {
			c.fail("entry", e.ID, remedy, "%s, and %v", menu, err)
			return p, false
		}
		p.place = newPlace(e.Image)
	default:
		p = plans[i]
	}
	if kernel, built := entryKernel(e, p), builtFor(p); kernel != "" && built != "" && kernel != built {
		c.fail("entry", e.ID, "latchkey image update --kernel-version "+kernel, "%s, and it boots kernel %s with an image for %s", menu, kernel, built)
		return p, false
	}
	if e.Left == 0 {
		c.fail("entry", e.ID, "look why it did not boot (journalctl --list-boots), then: latchkey image update --all", "%s has given it up: it never came up in all its tries", m.Loader)
		return p, false
	}
	counted := ""
	if e.Counted() {
		counted = fmt.Sprintf("; it has not booted yet, and has %d tries", e.Left)
	}
	c.ok("entry", e.ID, "%s, and it boots %s%s", menu, e.Image, counted)
	return p, true
}

func entryRemedy(loader string) string {
	if loader == bootentry.SystemdBoot {
		return "bootctl list, then: bootctl set-default ID"
	}
	return "grub-set-default, or GRUB_DEFAULT in /etc/default/grub, then: update-grub"
}

// entryKernel is the version of the kernel that an entry boots, "" if nothing
// tells.
func entryKernel(e bootentry.Entry, p checkedPlan) string {
	if e.Unified {
		return kernelVersion(p.kernel)
	}
	kernel, err := os.ReadFile(e.Kernel)
	if version := kernelVersion(kernel); err == nil && version != "" {
		return version
	}
	_, version, _ := strings.Cut(filepath.Base(e.Kernel), "vmlinuz-")
	return version
}

// builtFor is the kernel whose modules are in an image, "" if it has none.
func builtFor(p checkedPlan) string {
	if p.modules != nil {
		for _, m := range p.modules.List {
			if parts := strings.Split(m.Path, "/"); len(parts) > 3 {
				return parts[3]
			}
		}
	}
	return p.version
}

// lastGood looks for another way to boot than the image that is started.
func (c *checker) lastGood(m *bootentry.Menu, p checkedPlan) {
	for _, kept := range []string{p.place.old(), p.place.path + otherSuffix} {
		if exists(kept) {
			c.ok("entry", p.version, "%s is there, should it not boot", kept)
			return
		}
	}
	for _, e := range m.Entries {
		if e.Image != "" && exists(e.Image) && !sameFile(e.Image, p.path) {
			c.ok("entry", p.version, "the entry %s boots %s, should it not boot", e.ID, e.Image)
			return
		}
	}
	c.warn("entry", p.version, "make the distribution's initramfs beside it (docs/install.md, \"Boot entries\")", "no other image is there, should %s not boot", p.path)
}

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}
