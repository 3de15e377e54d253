package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"latchkey/initramfs"
	"latchkey/unlock"
)

// takeBack undoes what setup did, the images first: the machine boots as the
// distribution has it before a keyslot goes. What cannot be taken back stays,
// and is named; a second run goes on.
func (o *setup) takeBack() error {
	o.update.config, o.update.all = defaultConfig, true
	text, err := os.ReadFile(o.update.path(statePath))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there: latchkey setup has done nothing to this machine that it could take back", o.update.path(statePath))
	}
	if err != nil {
		return err
	}
	var state setupState
	if err := json.Unmarshal(text, &state); err != nil {
		return fmt.Errorf("reading %s: %w", o.update.path(statePath), err)
	}
	if !o.yes {
		if agreed, err := o.agree("Take back what latchkey setup did to this machine?"); err != nil || !agreed {
			return errors.Join(err, errors.New("nothing was done"))
		}
	}

	if err := o.restoreImages(); err != nil {
		return err
	}
	if err := o.dropConfig(state); err != nil {
		return err
	}
	var all []error
	for _, v := range state.Volumes {
		all = append(all, o.dropKeyslots(v))
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	if err := os.Remove(o.update.path(statePath)); err != nil {
		return err
	}
	for _, v := range state.Volumes {
		fmt.Fprintf(o.out, "the key server may hold a key of volume %s yet; there: latchkey-kms volume delete %[1]s\n", v.UUID)
	}
	return nil
}

// restoreImages puts the distribution's initramfs back. Unified kernel images
// go: the distribution's entries are beside them.
func (o *setup) restoreImages() error {
	config, err := readConfig(o.update.path(defaultConfig))
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
	path := o.update.path(files.Initrd)
	switch kept := path + otherSuffix; {
	case files.UKI != "" || !isOurs(path):
	case exists(kept):
		if err := os.Rename(kept, path); err != nil {
			return err
		}
		fmt.Fprintf(o.out, "put the distribution's %s back\n", path)
	default:
		fmt.Fprintf(o.out, "%s stays: there is none of the distribution's to put back; make one: update-initramfs -c -k %s, dracut --force, or mkinitcpio -P\n", path, version)
	}
	return o.update.removeImages(o.out, c, version)
}

// dropConfig removes what setup wrote; what a person has changed is kept
// under another name.
func (o *setup) dropConfig(s setupState) error {
	path := o.update.path(defaultConfig)
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
func (o *setup) dropKeyslots(v setupVolume) error {
	path := filepath.Join(o.update.root, byUUID, v.UUID)
	f, h, err := changeVolume(path)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.UUID, err)
	}
	defer f.Close()
	mine := func(slot int) bool { return v.Keyslots[slot] != "" && v.Keyslots[slot] == unlock.Fingerprint(h, slot) }
	persons := func(k standingSlot) bool {
		return !mine(k.ID) && !k.skipped() && (k.owner == ownerNone || k.owner == ownerRecovery)
	}
	if !slices.ContainsFunc(slotsOfHeader(h), persons) {
		return fmt.Errorf("volume %s: no passphrase would stay: its keyslots are left; latchkey volume add-key adds one, then run this again", v.UUID)
	}
	for _, slot := range slices.Sorted(maps.Keys(v.Keyslots)) {
		if !mine(slot) {
			continue
		}
		if h, err = h.RemoveKey(f, slot, tokensOnly(h, slot)...); err != nil {
			return changeAdvice(path, err)
		}
		fmt.Fprintf(o.out, "removed keyslot %d of volume %s\n", slot, v.UUID)
	}
	return nil
}
