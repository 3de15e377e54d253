package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

func volumeAddKeyCommand() *cobra.Command {
	var keyFile, newFile, kdf string
	var asJSON bool
	slot := luks2.AnySlot
	c := &cobra.Command{
		Use:   "add-key --key-file FILE --new-key-file FILE IMAGE-OR-DEVICE",
		Short: "Add a key to a volume",
		Long: `Add-key opens the volume with an existing key and adds another one. After a
power cut at any moment all existing keys still work. It is safe while the
volume is in use.`,
		Example: `  head -c 32 /dev/urandom > key2
  latchkey volume add-key --key-file key --new-key-file key2 root.luks2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file", "new-key-file"); err != nil {
				return err
			}
			if keyFile == "-" && newFile == "-" {
				return cli.Usagef("only one of the keys can come from standard input")
			}

			key, err := newKey(c.ErrOrStderr(), newFile, kdf, slot)
			if err != nil {
				return err
			}
			defer key.Passphrase.Wipe()
			f, h, err := changeVolume(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			added, err := addKey(c.Context(), f, h, keyFile, key)
			if err != nil {
				return changeAdvice(args[0], err)
			}

			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"uuid": h.UUID(), "keyslot": added})
			}
			fmt.Fprintf(c.OutOrStdout(), "added keyslot %d to volume %s\n", added, h.UUID())
			return nil
		},
	}

	f := c.Flags()
	f.StringVar(&keyFile, "key-file", "", `a key that the volume has, "-" for standard input (required)`)
	f.StringVar(&newFile, "new-key-file", "", `the key to add, "-" for standard input (required)`)
	f.StringVar(&kdf, "kdf", "auto", kdfUsage)
	f.IntVar(&slot, "slot", slot, "the keyslot to use (-1: the lowest free one)")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

func addKey(ctx context.Context, f *disk.File, h *luks2.Header, keyFile string, key luks2.NewKey) (int, error) {
	old, err := readKeyFile(keyFile)
	if err != nil {
		return 0, err
	}
	defer old.Wipe()
	volume, _, err := h.Unlock(ctx, f, attempt(old, luks2.AnySlot))
	if err != nil {
		return 0, volumeExit(f.Name(), wrongKey(keyFile, old, err))
	}
	defer volume.Wipe()
	_, added, err := h.AddKey(f, volume, key)
	return added, err
}

func volumeRemoveKeyCommand() *cobra.Command {
	var keyFile string
	var slot int
	var asJSON bool
	c := &cobra.Command{
		Use:   "remove-key --slot N --key-file FILE IMAGE-OR-DEVICE",
		Short: "Remove a key from a volume",
		Long: `Remove-key overwrites a keyslot, also one that latchkey skips, and takes it
out of the header. The key file must open one of the keyslots that stay, so
that you cannot lock yourself out.

Whoever copied the old header and knows the removed key can still open the
volume with that copy. Only reencryption (cryptsetup reencrypt) helps then.`,
		Example: `  latchkey volume remove-key --slot 0 --key-file key2 root.luks2`,
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "slot", "key-file"); err != nil {
				return err
			}
			f, h, err := changeVolume(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			key, err := readKeyFile(keyFile)
			if err != nil {
				return err
			}
			defer key.Wipe()
			marked, err := removeKey(c.Context(), f, h, key, slot)
			if err != nil {
				return changeAdvice(args[0], wrongKey(keyFile, key, err))
			}

			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"uuid": h.UUID(), "removed": slot})
			}
			fmt.Fprintf(c.OutOrStdout(), "removed keyslot %d of volume %s\n", slot, h.UUID())
			if marked {
				fmt.Fprintf(c.OutOrStdout(), "the KMS still holds what opened it; to destroy that too, on the key server: latchkey-kms volume delete --now %s\n", h.UUID())
			}
			return nil
		},
	}

	f := c.Flags()
	f.StringVar(&keyFile, "key-file", "", `a key of another keyslot, "-" for standard input (required)`)
	f.IntVar(&slot, "slot", 0, "the keyslot to remove (required)")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// removeKey removes the slot if the key opens another one, with the tokens
// that name nothing else. marked tells whether it was a machine's.
func removeKey(ctx context.Context, f *disk.File, h *luks2.Header, key secret.Bytes, slot int) (marked bool, err error) {
	stays := errors.New("it is the only one that can be used")
	for _, k := range h.Keyslots() {
		if k.ID == slot {
			continue
		}
		volume, _, err := h.Unlock(ctx, f, attempt(key, k.ID))
		volume.Wipe()
		if stays = err; err == nil {
			break
		}
	}

	if stays != nil {
		return false, volumeExit(f.Name(), fmt.Errorf("the key file must open a keyslot other than %d: %w", slot, stays))
	}

	marked = slices.ContainsFunc(unlock.Marks(h), func(m unlock.Mark) bool { return m.Slot == slot })
	_, err = h.RemoveKey(f, slot, tokensOnly(h, slot)...)
	return marked, err
}
