package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/unlock/luks2"
)

func volumeRecoveryCommand() *cobra.Command {
	var keyFile string
	c := &cobra.Command{
		Use:   "recovery-key --key-file FILE IMAGE-OR-DEVICE",
		Short: "Add a recovery key to a volume, and print it once",
		Long: `Recovery-key makes a key that a person can type, gives it a keyslot and prints
it, once: write it down. systemd-cryptenroll lists and wipes it as one of its
own recovery keys. To type it at the console of a boot, the volume in
latchkey.yaml must list the source prompt.`,
		Example: "  latchkey volume recovery-key --key-file key /dev/vda2",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file"); err != nil {
				return err
			}
			key, err := readKeyFile(keyFile)
			if err != nil {
				return err
			}
			defer key.Wipe()
			f, h, err := changeVolume(args[0])
			if err != nil {
				return err
			}
			defer f.Close()

			volume, _, err := h.Unlock(c.Context(), f, attempt(key, luks2.AnySlot))
			if err != nil {
				return volumeExit(args[0], wrongKey(keyFile, key, err))
			}
			defer volume.Wipe()
			made, err := addRecovery(f, f.SizeBytes, volume)
			if err != nil {
				return changeAdvice(args[0], err)
			}
			defer made.text.Wipe()
			_, err = fmt.Fprintf(c.OutOrStdout(), "recovery key of volume %s (keyslot %d), shown only now; write it down, dashes and all:\n\n    ", h.UUID(), made.slot)
			if err = errors.Join(err, made.write(c.OutOrStdout(), "", "\n\n")); err != nil {
				return made.takeBack(f, err)
			}
			return nil
		},
	}

	c.Flags().StringVar(&keyFile, "key-file", "", `a key that the volume has, "-" for standard input (required)`)
	return c
}
