package main

import (
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/unlock/luks2"
)

func volumeTestCommand() *cobra.Command {
	var keyFile string
	var asJSON bool
	slot := luks2.AnySlot
	c := &cobra.Command{
		Use:   "test --key-file FILE IMAGE-OR-DEVICE",
		Short: "Test whether a key opens a volume, without mapping it",
		Long: `Test derives the volume key and verifies it, as the init does. It exits
with 0 when a keyslot opens, 2 when none does, and 3 when the header breaks a
rule or the keyslot needs more memory than there is. The volume MAC that
--json prints identifies the volume key without revealing it. A header backup
is tested as well, by its own keyslots.`,
		Example: `  latchkey volume test --key-file key root.luks2
  latchkey volume test --key-file - --slot 0 /dev/vda2 < key`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file"); err != nil {
				return err
			}
			f, h, err := readVolumeOrBackup(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			warnMember(c.ErrOrStderr(), f)
			key, err := readKeyFile(keyFile)
			if err != nil {
				return err
			}
			defer key.Wipe()
			volume, opened, err := h.Unlock(c.Context(), f, attempt(key, slot))
			if err != nil {
				return volumeExit(args[0], wrongKey(keyFile, key, err))
			}
			defer volume.Wipe()
			if asJSON {
				mac := volume.MAC()
				return printJSON(c.OutOrStdout(), map[string]any{"uuid": h.UUID(), "keyslot": opened, "volume_mac": hex.EncodeToString(mac[:]), "backup": h.Saved()})
			}

			of := ""
			if h.Saved() {
				of = "the header backup of "
			}
			fmt.Fprintf(c.OutOrStdout(), "keyslot %d of %svolume %s opens\n", opened, of, h.UUID())
			return nil
		},
	}

	f := c.Flags()
	f.StringVar(&keyFile, "key-file", "", `file that holds the key, "-" for standard input (required)`)
	f.IntVar(&slot, "slot", slot, "the only keyslot to try (-1: all)")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}
