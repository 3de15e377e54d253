package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"path/filepath"
	"strings"

	"latchkey/internal/disk"
	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
)

// volumes looks at each volume of a plan on its device, and at what opens it.
func (c *checker) volumes(ctx context.Context, p checkedPlan) {
	k := &kmsCheck{checker: c, plan: p.Plan}
	defer k.close()
	for _, v := range p.Volumes {
		f, h := c.volume(v)
		if h == nil {
			continue
		}
		c.opens(ctx, p, v, f, h, k)
		f.Close()
	}
	warnings, err := c.host.Warnings(hostVolumes(p.Plan), hostMounts(p.Plan))
	if err != nil {
		c.warn("volume", "", "correct the file", "reading the host's tables: %v", err)
	}
	for _, text := range warnings {
		c.warn("volume", "", "correct latchkey.yaml, then: latchkey image update --all", "%s", text)
	}
}

// volume reads a volume's header as a boot does; it is nil if a boot would
// not take it, or cannot be told.
func (c *checker) volume(v plan.Volume) (*disk.File, *luks2.Header) {
	path := c.update.path(filepath.Join(byUUID, v.UUID))
	missing := c.fail
	if v.NoFail {
		missing = c.warn // the boot goes on without it
	}
	switch {
	case v.Header != nil && v.Header.Device != "":
		c.warn("volume", v.Name, "plug it in for the reboot", "its header is on %s, which is not looked at", v.Header.Device)
		return nil, nil
	case v.Header != nil:
		path = c.update.path(v.Header.Path)
	case c.cannotSee("volume", v.Name, byUUID):
		return nil, nil
	case !c.host.HasVolume(v.UUID):
		missing("volume", v.Name, "compare volumes in latchkey.yaml with: lsblk -o NAME,UUID", "no device of this machine has the UUID %s", v.UUID)
		return nil, nil
	}

	f, h, err := readVolume(path)
	if err == nil {
		if err = c.header(v, f, h); err == nil {
			return f, h
		}
		f.Close()
	}
	missing("volume", v.Name, headerRemedy(path), "%s: %v", path, err)
	return nil, nil
}

func headerRemedy(path string) string { return "latchkey volume inspect " + path }

// header judges a header by the rules of a boot.
func (c *checker) header(v plan.Volume, f *disk.File, h *luks2.Header) error {
	if err := memberOf(f); err != nil {
		return err
	}
	if err := accepted(h, v); err != nil {
		return err
	}
	want, err := v.PinnedDigest()
	if err != nil {
		return err
	}
	if have := h.SubsetDigest(); len(want) > 0 && !bytes.Equal(want, have[:]) {
		return &pinnedOther{hex.EncodeToString(want), hex.EncodeToString(have[:])}
	}
	if h.OtherCopy() == luks2.CopyDamaged {
		c.warn("volume", v.Name, "latchkey volume repair "+f.Name(), "one of the two copies of its header is damaged; the boot takes the other")
		return nil
	}
	c.ok("volume", v.Name, "%s is %s with %s, as a boot takes it", f.Name(), h.Type(), strings.Join(h.Ciphers(), ", "))
	return nil
}

// A pinnedOther is a header that is not the one that the plan pins.
type pinnedOther struct{ want, have string }

func (p *pinnedOther) Error() string {
	return "the plan pins the header digest " + p.want + ", and this is " + p.have + ": is it the volume that is meant?"
}
