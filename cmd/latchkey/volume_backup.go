package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/disk"
	"latchkey/unlock/luks2"
)

func volumeBackupCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "backup-header IMAGE-OR-DEVICE FILE",
		Short: "Copy a volume's header and keyslots into a new file",
		Long: `Backup-header writes what restore-header and cryptsetup luksHeaderRestore read:
both copies of the header and all keyslots. It reads the file again and judges
it as the header of this volume. It is safe while the volume is in use, and
needs no key.

Whoever has the file and a key of today opens the volume, also when that key
has been removed since. Keep it where you keep keys, and make a new one when
keys change: latchkey volume restore-header says what differs.`,
		Example: `  latchkey volume backup-header /dev/vda2 vda2.header
  latchkey volume backup-header --json root.luks2 root.header`,
		Args: cli.Args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := backupFile(args[1]); err != nil {
				return err
			}
			f, h, err := readVolume(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			warnMember(c.ErrOrStderr(), f)
			b, err := h.Backup(f)
			if err != nil {
				return volumeExit(args[0], changeAdvice(args[0], err))
			}
			if err := writeBackup(args[1], b, f.SizeBytes); err != nil {
				return err
			}

			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"uuid": b.UUID(), "keyslots": slotIDs(b.Header), "bytes": len(b.Bytes())})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "backed up the header of volume %s: keyslots %d, %d bytes\n", b.UUID(), slotIDs(b.Header), len(b.Bytes()))
			return err
		},
	}

	c.Flags().BoolVar(&asJSON, "json", false, "print the volume, its keyslots and the file's size as JSON")
	return c
}

// backupFile refuses what is no file: a pipe would be waited for, and what
// was written to it is not read again.
func backupFile(path string) error {
	if path == "-" {
		return cli.Usagef("a backup is a file, not %q", path)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return cli.Usagef("%s is no regular file: a backup is one", path)
	}
	return nil
}

// writeBackup makes a new file, which survives a power cut, and judges what
// is in it.
func writeBackup(path string, b *luks2.Backup, deviceSize int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = syncDir(path)
	}
	if err == nil {
		var again *luks2.Backup
		if again, err = readBackup(path, deviceSize); err == nil && !bytes.Equal(again.Bytes(), b.Bytes()) {
			err = fmt.Errorf("reading %s back: it has other bytes", path)
		}
	}
	if err != nil { // half a backup helps nobody
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// syncDir returns when a file's name survives a power cut.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readBackup(path string, deviceSize int64) (*luks2.Backup, error) {
	if err := backupFile(path); err != nil {
		return nil, err
	}
	image, err := datafile.Read(path, luks2.MaxBackup)
	if err != nil {
		return nil, err
	}
	b, err := luks2.ReadBackup(image, deviceSize)
	if err != nil {
		return nil, &cli.Exit{Code: cli.Rejected, Err: fmt.Errorf("the backup %s: %w", path, err)}
	}
	return b, nil
}

// readVolumeOrBackup is readVolume, also of a file that has the header alone:
// for commands that only read.
func readVolumeOrBackup(path string) (*disk.File, *luks2.Header, error) {
	f, h, err := readVolume(path)
	if rejected, ok := errors.AsType[*luks2.Rejected](err); !ok || rejected.Code() != "segment-range" {
		return f, h, err
	}
	backup, openErr := disk.Open(path, os.O_RDONLY)
	if openErr != nil {
		return nil, nil, openErr
	}
	saved, savedErr := luks2.ReadSaved(backup, backup.SizeBytes)
	if savedErr != nil { // then what was found first is true
		backup.Close()
		return nil, nil, err
	}
	return backup, saved, nil
}

// slotIDs are the numbers of all keyslots, usable or not.
func slotIDs(h *luks2.Header) []int {
	ids := []int{}
	for _, k := range h.Keyslots() {
		ids = append(ids, k.ID)
	}
	for _, k := range h.Skipped() {
		ids = append(ids, k.ID)
	}
	return ids
}
