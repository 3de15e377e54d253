package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/unlock/luks2"
)

func volumeRepairCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "repair IMAGE-OR-DEVICE",
		Short: "Write the good header copy over a damaged or stale one",
		Long: `LUKS2 keeps two copies of its header. Repair writes the copy that is in use
over the other one when that is damaged or older, and changes nothing else.
It is safe while the volume is in use, and a power cut leaves the good copy.

Look at the volume first (latchkey volume inspect) and keep a backup of its
header: latchkey volume backup-header DEVICE FILE. When both copies are
damaged, only such a backup helps: latchkey volume restore-header.`,
		Example: `  latchkey volume inspect /dev/vda2
  latchkey volume repair /dev/vda2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			f, h, err := changeVolume(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := h.Mend(f); err != nil {
				return changeAdvice(args[0], err)
			}

			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"uuid": h.UUID(), "other_copy": h.OtherCopy().String()})
			}
			if h.OtherCopy() == luks2.CopySame {
				_, err = fmt.Fprintf(c.OutOrStdout(), "both header copies of volume %s are good: nothing was written\n", h.UUID())
			} else {
				_, err = fmt.Fprintf(c.OutOrStdout(), "repaired volume %s: the header copy that was %s is the same as the other again\n", h.UUID(), h.OtherCopy())
			}
			return err
		},
	}

	c.Flags().BoolVar(&asJSON, "json", false, "print the volume and what its other copy was as JSON")
	return c
}
