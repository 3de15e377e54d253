package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock/luks2"
)

// restoreHeader are the options of "volume restore-header".
type restoreHeader struct {
	uuid, keyFile string
	inUse, json   bool
}

func volumeRestoreCommand() *cobra.Command {
	var o restoreHeader
	c := &cobra.Command{
		Use:   "restore-header IMAGE-OR-DEVICE FILE",
		Short: "Write a backup of a volume's header back",
		Long: `Restore-header writes what backup-header or cryptsetup luksHeaderBackup saved:
the keyslots and both copies of the header, and reads them again. A power cut
at any moment leaves a header that a key of the volume, or of the backup,
opens; run it again then.

Give it a key that the backup has, with --key-file: that proves the backup,
whose keyslots have no checksum, before anything is written. Without a key it
refuses a backup whose keyslots are zeros, or are not what the device has of
the same keyslots, for then one of the two is damaged.

It refuses a backup of another volume key than the device has, and a device on
which no header can be read: --uuid with the UUID of the backup says that this
is meant. All that is encrypted under another key there is lost then. A device
that is mounted or mapped is refused, too; --in-use says that this is meant,
and needs the same volume.

A removed key that the backup still has opens the volume again: restore-header
names those keyslots, and those that the volume loses.`,
		Example: `  latchkey volume backup-header root.luks2 root.header
  latchkey volume restore-header --key-file key root.luks2 root.header`,
		Args: cli.Args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, args[0], args[1]) },
	}

	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", `a key that proves the backup, "-" for standard input (recommended)`)
	f.StringVar(&o.uuid, "uuid", "", "the backup's UUID: restore it over another volume, or over no header")
	f.BoolVar(&o.inUse, "in-use", false, "restore it although the device is mounted or mapped")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

func (o restoreHeader) run(c *cobra.Command, path, file string) error {
	f, err := o.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := readBackup(file, f.SizeBytes)
	if err != nil {
		return err
	}
	now, err := o.compare(f, b)
	if err != nil {
		return err
	}

	proven, err := o.prove(c, f, b, now)
	if err != nil {
		return err
	}

	removed, added := []int{}, []int{}
	if now != nil && b.SameVolume(now) {
		removed, added = b.Differs(now)
	}
	after, err := b.Restore(f, now)
	if err != nil {
		return changeAdvice(path, err)
	}
	if after.OtherCopy() != luks2.CopySame || after.UUID() != b.UUID() {
		return fmt.Errorf("reading the restored header of %s: it is not the backup's", path)
	}

	if o.json {
		return printJSON(c.OutOrStdout(), map[string]any{"uuid": after.UUID(), "keyslots": slotIDs(after), "back": removed, "lost": added, "proven": proven})
	}
	fmt.Fprintf(c.OutOrStdout(), "restored the header of volume %s: keyslots %d\n", after.UUID(), slotIDs(after))
	if len(removed) > 0 {
		fmt.Fprintf(c.OutOrStdout(), "the volume had these keyslots of the backup no more, and what opened them opens it again: %d; to remove one: latchkey volume remove-key --slot N --key-file FILE %s\n", removed, path)
	}
	if len(added) > 0 {
		fmt.Fprintf(c.OutOrStdout(), "the volume has these keyslots no more, because the backup is older than they are: %d\n", added)
	}
	return nil
}

// prove tells whether a key opens the backup; without one it refuses a backup
// that is damaged for all to see.
func (o restoreHeader) prove(c *cobra.Command, f *disk.File, b *luks2.Backup, now *luks2.Header) (proven bool, err error) {
	if o.keyFile == "" {
		same := now
		if now != nil && !b.SameVolume(now) {
			same = nil
		}
		if err := b.Rotten(f, same); err != nil {
			if isRejected(err) {
				err = &cli.Exit{Code: cli.Rejected, Err: fmt.Errorf("%w (if a key opens the backup: --key-file FILE)", err)}
			}
			return false, err
		}
		return false, nil
	}
	key, err := readKeyFile(o.keyFile)
	if err != nil {
		return false, err
	}
	defer key.Wipe()
	volume, _, err := b.Unlock(c.Context(), attempt(key, luks2.AnySlot))
	volume.Wipe()
	if err != nil {
		return false, volumeExit(f.Name(), fmt.Errorf("the backup, which is not restored: %w", wrongKey(o.keyFile, key, err)))
	}
	return true, nil
}

// open holds a block device, unless it may be in use.
func (o restoreHeader) open(path string) (*disk.File, error) {
	if o.inUse {
		return openToChange(path)
	}
	f, err := disk.OpenExclusive(path)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%w: it is mounted or mapped: close it first, or restore all the same with --in-use", err)
	}
	if err != nil {
		return nil, err
	}
	if err := notMember(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// compare reads the header that is there, nil if there is none, and refuses
// to replace what --uuid does not name.
func (o restoreHeader) compare(f *disk.File, b *luks2.Backup) (*luks2.Header, error) {
	meant := strings.EqualFold(o.uuid, b.UUID())
	if o.uuid != "" && !meant {
		return nil, cli.Usagef("--uuid %s: the backup is of volume %s", o.uuid, b.UUID())
	}
	refuse := func(format string, args ...any) error {
		return &cli.Exit{Code: cli.Rejected, Err: fmt.Errorf(format, args...)}
	}

	now, err := luks2.ReadAny(f, f.SizeBytes)
	if isRejected(err) {
		if err := overStranger(f, b, meant, err); err != nil {
			return nil, refuse("%w", err)
		}
	}
	switch {
	case err != nil && !isRejected(err):
		return nil, err
	case err != nil && o.inUse:
		return nil, refuse("--in-use needs the same volume, and %s has none that is accepted: %w", f.Name(), err)
	case err != nil && !meant:
		return nil, refuse("%s has no header to compare the backup with: %w (if it is the backup's volume all the same: --uuid %s)", f.Name(), err, b.UUID())
	case err != nil:
		return nil, nil
	case b.SameVolume(now):
		return now, nil
	case o.inUse:
		return nil, refuse("--in-use needs the same volume, and %s", differs(now, b))
	case !meant:
		return nil, refuse("%s: what is encrypted under it would be lost (if that is meant: --uuid %s)", differs(now, b), b.UUID())
	}
	return now, nil
}

// overStranger refuses to write over a header that is not accepted, and is
// there all the same. While a volume is encrypted anew its new key is in that
// header alone, and nobody means to lose it.
func overStranger(f *disk.File, b *luks2.Backup, meant bool, why error) error {
	there, err := luks2.Recognize(f, f.SizeBytes)
	switch {
	case err != nil:
		return err
	case there == nil:
		return nil
	case there.Reencrypting:
		return fmt.Errorf("volume %s on the device is being encrypted anew, and its new key is in this header alone; end that first: cryptsetup reencrypt --resume-only %s", there.UUID, f.Name())
	case meant:
		return nil
	case there.UUID != b.UUID():
		return fmt.Errorf("the device has volume %s (%s), which would be lost: %w (if that is meant: --uuid %s)", there.UUID, there.Type, why, b.UUID())
	}
	return fmt.Errorf("the device has a header of volume %s (%s) that is not accepted, and that would be lost: %w (if that is meant: --uuid %[1]s)", there.UUID, there.Type, why)
}

// differs says how the volume that is there differs from the backup's.
func differs(now *luks2.Header, b *luks2.Backup) string {
	if now.UUID() == b.UUID() {
		return fmt.Sprintf("the device has a volume of the UUID %s, too, with another volume key than the backup's", now.UUID())
	}
	return fmt.Sprintf("the device has volume %s, and the backup is of volume %s", now.UUID(), b.UUID())
}
