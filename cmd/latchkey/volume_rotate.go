package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/disk"
	"latchkey/internal/meminfo"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// rotateKey are the options of "volume rotate".
type rotateKey struct {
	keyFile              string
	recovery, keep, json bool
}

func volumeRotateCommand() *cobra.Command {
	var o rotateKey
	c := &cobra.Command{
		Use:   "rotate --key-file FILE IMAGE-OR-DEVICE",
		Short: "Replace the key in a key file, or the recovery key",
		Long: `Rotate makes a new random key of 32 bytes in FILE.new, gives it a keyslot,
proves that it opens the volume, moves it to FILE and removes the keyslot of
the old key. With --recovery it makes a new recovery key instead, prints it,
and removes the old recovery keys; FILE is any key of the volume then.

After a power cut at any moment what is in FILE, or in FILE.new, opens the
volume: run it again, and it goes on. With --keep it ends before it removes
the old keyslot, as long as an image or a stick has the old key; run it again
when they have the new one.

Secrets that a key server holds are replaced there: latchkey-kms volume
rotate.`,
		Example: `  latchkey volume rotate --key-file key root.luks2
  latchkey volume rotate --key-file key --recovery root.luks2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file"); err != nil {
				return err
			}
			switch {
			case o.keyFile == "-" && !o.recovery:
				return cli.Usagef("--key-file must be a file: the new key is written into it")
			case o.json && o.recovery:
				return cli.Usagef("--json is not for recovery keys, which are printed to be read")
			}
			f, _, err := changeVolume(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if o.recovery {
				return changeAdvice(args[0], o.renewRecovery(c.Context(), c.OutOrStdout(), f))
			}
			return changeAdvice(args[0], o.renewFile(c.Context(), c.OutOrStdout(), f))
		},
	}

	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", "the key to replace, or with --recovery one that opens the volume (required)")
	f.BoolVar(&o.recovery, "recovery", false, "replace the recovery keys")
	f.BoolVar(&o.keep, "keep", false, "keep the old keyslots until the next run")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

// renewFile replaces the key in the key file.
func (o rotateKey) renewFile(ctx context.Context, w io.Writer, f *disk.File) (err error) {
	if o.keyFile, err = filepath.EvalSymlinks(o.keyFile); err != nil { // the file is replaced, not a link to it
		return err
	}
	r := &unlock.Renewal{Disk: f, SizeBytes: f.SizeBytes, Memory: luks2.NewMemory(meminfo.Available())}
	key, err := readKeyFile(o.keyFile)
	if err != nil {
		return err
	}
	defer key.Wipe()
	if err := o.opens(ctx, f, key); err != nil {
		return err
	}
	if !o.keep { // perhaps an earlier run ends now
		removed, err := r.Finish(ctx, key)
		if err != nil || len(removed) > 0 {
			return errors.Join(err, o.print(w, f, removed, nil))
		}
	}

	next, err := o.next()
	if err == nil && next.Len() == 0 {
		next, err = o.mint()
	}
	if err != nil {
		return err
	}
	defer next.Wipe()
	slot, replaces, err := r.Stage(ctx, key, luks2.NewKey{Passphrase: next, Slot: luks2.AnySlot, Random: true})
	if err != nil {
		return err
	}
	if err := datafile.Replace(o.keyFile+".new", o.keyFile); err != nil {
		return err
	}
	if o.keep {
		return o.print(w, f, nil, &kept{slot, []int{replaces}})
	}
	removed, err := r.Finish(ctx, next)
	return errors.Join(err, o.print(w, f, removed, &kept{Slot: slot}))
}

// opens tells whether a key opens the volume, before anything is made.
func (o rotateKey) opens(ctx context.Context, f *disk.File, key secret.Bytes) error {
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		return err
	}
	volume, _, err := h.Unlock(ctx, f, attempt(key, luks2.AnySlot))
	volume.Wipe()
	if err != nil {
		return volumeExit(f.Name(), wrongKey(o.keyFile, key, err))
	}
	return nil
}

// rotatedBytes is how long a new key is.
const rotatedBytes = 32

// next is the new key that an earlier run has left, or none.
func (o rotateKey) next() (secret.Bytes, error) {
	b, err := datafile.Read(o.keyFile+".new", maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Bytes{}, nil
	}
	if err == nil && (len(b) != rotatedBytes || isText(b)) {
		err = fmt.Errorf("%s.new is in the way: it is no key that an earlier run has left", o.keyFile)
	}
	return secret.Own(b), err
}

// mint writes a new key beside the old one. It is on stable storage before
// it gets a keyslot.
func (o rotateKey) mint() (secret.Bytes, error) {
	key := secret.Random(rotatedBytes)
	return key, datafile.Write(o.keyFile+".new", key.Reveal())
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
		return err
	}
	if o.keep {
		return o.print(w, f, nil, &kept{made.slot, old})
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
	return o.print(w, f, old, &kept{Slot: made.slot})
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

func (o rotateKey) print(w io.Writer, f *disk.File, removed []int, made *kept) error {
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		return err
	}
	if o.json && !o.recovery {
		out := map[string]any{"uuid": h.UUID(), "removed": append([]int{}, removed...)}
		if made != nil {
			out["keyslot"] = made.Slot
		}
		return printJSON(w, out)
	}
	switch {
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
