package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// rotateKey are the options of "volume rotate".
type rotateKey struct {
	keyFile, oldKeyFile  string
	recovery, keep, json bool
}

func volumeRotateCommand() *cobra.Command {
	var o rotateKey
	c := &cobra.Command{
		Use:   "rotate --key-file FILE IMAGE-OR-DEVICE...",
		Short: "Replace the key in a key file, or the recovery key",
		Long: `Rotate makes a new random key of 32 bytes in FILE.new, gives it a keyslot,
proves that it opens the volume, moves it to FILE and removes the keyslot of
the old key, which stays in FILE.old: another volume may have it. Name all
volumes that have the key in one run. For one that was forgotten,
--old-key-file FILE.old gives it the key that is in FILE now. Remove FILE.old
when no volume has that key.

With --recovery it makes a new recovery key instead, prints it, and removes
the old recovery keys; FILE is any key of the volume then.

After a power cut at any moment what is in FILE, or in FILE.new, opens each
volume: run it again, and it goes on. With --keep it ends before it removes
the old keyslot, as long as an image or a stick has the old key; run it again
when they have the new one.

Secrets that a key server holds are replaced there: latchkey-kms volume
rotate.`,
		Example: `  latchkey volume rotate --key-file key root.luks2 data.luks2
  latchkey volume rotate --key-file key --old-key-file key.old more.luks2
  latchkey volume rotate --key-file key --recovery root.luks2`,
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file"); err != nil {
				return err
			}
			if err := o.check(len(args)); err != nil {
				return err
			}
			var volumes []*disk.File
			for _, path := range args {
				if slices.ContainsFunc(volumes, func(f *disk.File) bool { return f.Same(path) }) {
					return cli.Usagef("%s is named twice", path)
				}
				f, _, err := changeVolume(path)
				if err != nil {
					return err
				}
				defer f.Close()
				volumes = append(volumes, f)
			}
			if o.recovery {
				return changeAdvice(args[0], o.renewRecovery(c.Context(), c.OutOrStdout(), volumes[0]))
			}
			return o.renewFile(c.Context(), c.OutOrStdout(), volumes)
		},
	}

	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", "the key to replace, or with --recovery one that opens the volume (required)")
	f.StringVar(&o.oldKeyFile, "old-key-file", "", "make no new key: replace this one by the key in --key-file")
	f.BoolVar(&o.recovery, "recovery", false, "replace the recovery keys")
	f.BoolVar(&o.keep, "keep", false, "keep the old keyslots until the next run")
	f.BoolVar(&o.json, "json", false, "print the result as JSON, one object for each volume")
	return c
}

// check refuses options that exclude each other.
func (o rotateKey) check(volumes int) error {
	switch {
	case o.keyFile == "-" && !o.recovery:
		return cli.Usagef("--key-file must be a file: the new key is written into it")
	case o.json && o.recovery:
		return cli.Usagef("--json is not for recovery keys, which are printed to be read")
	case o.recovery && o.oldKeyFile != "":
		return cli.Usagef("--old-key-file is not for recovery keys")
	case o.recovery && volumes > 1:
		return cli.Usagef("--recovery takes one volume: each has a recovery key of its own")
	}
	return nil
}

// renewRecovery adds a recovery key and then removes those that were there.
func (o rotateKey) renewRecovery(ctx context.Context, w io.Writer, f *disk.File) error {
	key, err := readKeyFile(o.keyFile)
	if err != nil {
		return err
	}
	defer key.Wipe()
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		return err
	}
	volume, _, err := h.Unlock(ctx, f, attempt(key, luks2.AnySlot))
	if err != nil {
		return volumeExit(f.Name(), wrongKey(o.keyFile, key, err))
	}
	defer volume.Wipe()
	old, was := recoverySlots(h), h
	made, err := addRecovery(f, f.SizeBytes, volume)
	if err != nil {
		return err
	}
	defer made.text.Wipe()

	// Before the old ones go: a pipe that nobody reads must not lose them.
	fmt.Fprintf(w, "recovery key of volume %s (keyslot %d), shown only now; write it down, dashes and all:\n\n    ", h.UUID(), made.slot)
	if err := made.write(w, "", "\n\n"); err != nil {
		return made.takeBack(f, err)
	}
	if o.keep {
		return o.print(w, f, nil, &kept{made.slot, old}, "")
	}
	for _, slot := range old {
		h, err = luks2.ReadAny(f, f.SizeBytes)
		if err == nil && unlock.Fingerprint(h, slot) != unlock.Fingerprint(was, slot) {
			err = luks2.ErrChanged // another keyslot has the number
		}
		if err == nil {
			_, err = h.RemoveKey(f, slot, tokensOnly(h, slot)...)
		}
		if err != nil {
			return err
		}
	}
	return o.print(w, f, old, &kept{Slot: made.slot}, "")
}

// recoverySlots are the keyslots of recovery keys.
func recoverySlots(h *luks2.Header) (slots []int) {
	for _, t := range h.Tokens() {
		if t.Type == recoveryType {
			slots = append(slots, t.Keyslots...)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(slots)))
}

// kept is the new keyslot, and those that the next run removes.
type kept struct {
	Slot int
	old  []int
}

// print says what was done with one volume; old is the file of the old key.
func (o rotateKey) print(w io.Writer, f *disk.File, removed []int, made *kept, old string) error {
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		return err
	}
	if o.json && !o.recovery {
		out := map[string]any{"uuid": h.UUID(), "removed": append([]int{}, removed...)}
		if made != nil {
			out["keyslot"] = made.Slot
		}
		if old != "" {
			out["old_key_file"] = old
		}
		return printJSON(w, out)
	}
	switch {
	case made == nil && len(removed) == 0:
		_, err = fmt.Fprintf(w, "volume %s has the key already: nothing was changed\n", h.UUID())
	case made == nil:
		_, err = fmt.Fprintf(w, "ended the earlier rotation of volume %s: removed keyslots %d\n", h.UUID(), removed)
	case len(made.old) > 0:
		_, err = fmt.Fprintf(w, "keyslot %d of volume %s has the new key; keyslots %d keep the old one: run this again without --keep to remove them\n", made.Slot, h.UUID(), made.old)
	default:
		_, err = fmt.Fprintf(w, "keyslot %d of volume %s has the new key; removed keyslots %d\n", made.Slot, h.UUID(), removed)
	}
	return err
}

// tokensOnly are the tokens that name a keyslot and no other one.
func tokensOnly(h *luks2.Header, slot int) (ids []int) {
	for _, t := range h.Tokens() {
		if slices.Equal(t.Keyslots, []int{slot}) {
			ids = append(ids, t.ID)
		}
	}
	return ids
}
