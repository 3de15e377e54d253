package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"latchkey/initramfs"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// takeBack undoes what setup did, the images first: the machine boots as the
// distribution has it before a keyslot goes. What cannot be taken back stays,
// and is named; a second run goes on.
func (o *setup) takeBack() error {
	o.update.config, o.update.all = defaultConfig, true
	state, err := o.state()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there: latchkey setup has done nothing to this machine that it could take back", o.update.entry(statePath))
	}
	if err != nil {
		return err
	}
	if o.dryRun {
		return o.showUndo(state)
	}
	if err := o.agreed("Take back what latchkey setup did to this machine?"); err != nil {
		return err
	}

	if err := o.restoreImages(); err != nil {
		return err
	}
	if err := o.dropConfig(state); err != nil {
		return err
	}
	var all []error
	for i := range state.Volumes {
		all = append(all, o.dropKeyslots(&state.Volumes[i]))
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	if err := os.Remove(o.update.entry(statePath)); err != nil {
		return err
	}
	for _, v := range state.Volumes {
		if v.Stored {
			fmt.Fprintf(o.out, "the key server may hold a key of volume %s yet; there: latchkey-kms volume delete --now %[1]s\n", v.UUID)
		}
	}
	return nil
}

// restoreImages puts the distribution's initramfs back. Unified kernel images
// go: the distribution's entries are beside them.
func (o *setup) restoreImages() error {
	config, err := readConfigBelow(o.update.root, o.update.path(defaultConfig))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it did not come so far
	}
	if err != nil {
		return err
	}
	versions, err := o.update.versions()
	if err != nil {
		return err
	}
	for _, v := range versions {
		if err := o.restoreImage(config.Image, v); err != nil {
			return err
		}
	}
	return nil
}

func (o *setup) restoreImage(c initramfs.ImageConfig, version string) error {
	files := c.For(version)
	path := o.update.entry(files.Initrd)
	switch kept := path + otherSuffix; {
	case files.UKI != "" || !isOurs(path):
	case exists(kept):
		if err := os.Rename(kept, path); err != nil {
			return err
		}
		fmt.Fprintf(o.out, "put the distribution's %s back\n", path)
	default:
		return fmt.Errorf("%s stays, and the keyslot that it needs: there is none of the distribution's to put back; make one (update-initramfs -c -k %s, dracut --force, or mkinitcpio -P), then run this again", path, version)
	}
	return o.update.removeImages(o.out, c, version)
}

// dropConfig removes what setup wrote; what a person has changed is kept
// under another name.
func (o *setup) dropConfig(s setupState) error {
	path := o.update.entry(defaultConfig)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if hex.EncodeToString(sum[:]) == s.Config {
		fmt.Fprintf(o.out, "removed %s\n", path)
		return os.Remove(path)
	}
	fmt.Fprintf(o.out, "%s was changed since: it is %s now\n", path, path+".saved")
	return os.Rename(path, path+".saved")
}

// dropKeyslots removes those that setup added and that are still the same,
// if one stays that a person has the key of.
func (o *setup) dropKeyslots(v *setupVolume) error {
	path := o.update.path(filepath.Join(byUUID, v.UUID))
	f, h, err := changeVolume(path)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.UUID, err)
	}
	defer f.Close()
	o.adopt(v, h, path)
	slots := v.standing(h)
	persons := func(k standingSlot) bool {
		return !slices.Contains(slots, k.ID) && !k.skipped() && (k.owner == ownerNone || k.owner == ownerRecovery)
	}
	if len(slots) > 0 && !slices.ContainsFunc(slotsOfHeader(h), persons) {
		return fmt.Errorf("volume %s: no passphrase would stay: its keyslots are left; latchkey volume add-key adds one, then run this again", v.UUID)
	}
	for _, slot := range slots {
		if h, err = h.RemoveKey(f, slot, tokensOnly(h, slot)...); err != nil {
			return changeAdvice(path, err)
		}
		fmt.Fprintf(o.out, "removed keyslot %d of volume %s\n", slot, v.UUID)
	}
	return nil
}

// standing are the keyslots that setup added and that are still the same.
func (v *setupVolume) standing(h *luks2.Header) (slots []int) {
	for _, slot := range slices.Sorted(maps.Keys(v.Keyslots)) {
		if print := v.Keyslots[slot]; print != "" && print == unlock.Fingerprint(h, slot) {
			slots = append(slots, slot)
		}
	}
	return slots
}

// showUndo says what would be taken back, and does nothing.
func (o *setup) showUndo(s setupState) error {
	fmt.Fprintln(o.out, "What would be taken back:")
	for _, v := range s.Volumes {
		path := o.update.path(filepath.Join(byUUID, v.UUID))
		f, h, err := readVolume(path)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.UUID, err)
		}
		o.adopt(&v, h, path)
		for _, slot := range v.standing(h) {
			fmt.Fprintf(o.out, "  keyslot %d of volume %s is removed\n", slot, v.UUID)
		}
		f.Close()
	}
	if config, err := readConfigBelow(o.update.root, o.update.path(defaultConfig)); err == nil {
		versions, err := o.update.versions()
		if err != nil {
			return err
		}
		for _, v := range versions {
			files := config.Image.For(v)
			fmt.Fprintf(o.out, "  %s is what it was before, or goes\n", cmp.Or(files.UKI, files.Initrd))
		}
		fmt.Fprintf(o.out, "  %s goes\n", defaultConfig)
	}
	fmt.Fprintf(o.out, "  %s goes\n", statePath)
	return nil
}

// adopt takes over what a run left that was killed. The mark of a keyslot of
// the key server's says whose it is; others may be somebody's by now, and are
// named.
func (o *setup) adopt(v *setupVolume, h *luks2.Header, path string) {
	if v.Before == nil {
		return
	}
	for _, k := range slotsOfHeader(h) {
		switch print := unlock.Fingerprint(h, k.ID); {
		case print == v.Before[k.ID] || print == v.Keyslots[k.ID] || k.owner == ownerNone:
		case k.owner == ownerKMS:
			v.Keyslots[k.ID], v.Stored = print, true
		default:
			fmt.Fprintf(o.out, "keyslot %d of volume %s (%s) came while setup ran, or later; if nobody needs it: latchkey volume remove-key --slot %[1]d --key-file FILE %[4]s\n", k.ID, v.UUID, k.What, path)
		}
	}
}
