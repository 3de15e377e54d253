package main

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock/luks2"
)

// volumeNew are the options of format and encrypt.
type volumeNew struct {
	keyFile, kdf string
	volume       luks2.NewVolume
	json         bool
}

func (o *volumeNew) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", `file that holds the key, "-" for standard input (required)`)
	f.StringVar(&o.kdf, "kdf", "auto", kdfUsage)
	f.StringVar(&o.volume.UUID, "uuid", "", "the volume's UUID (default: a random one)")
	f.StringVar(&o.volume.Label, "label", "", "the volume's label, at most 47 bytes")
	f.IntVar(&o.volume.SectorBytes, "sector-size", 512, "encryption sector in bytes: 512, 1024, 2048 or 4096")
	f.Int64Var(&o.volume.OffsetBytes, "offset", 16<<20, "where the payload begins, in bytes")
	f.BoolVar(&o.volume.Overwrite, "overwrite", false, "overwrite data that is there")
	f.BoolVar(&o.json, "json", false, "print the new volume as JSON")
}

// format makes the volume on f.
func (o *volumeNew) format(f *disk.File, key luks2.NewKey) (*luks2.Header, luks2.VolumeKey, error) {
	o.volume.SizeBytes = f.SizeBytes
	return luks2.Format(f, o.volume, key)
}

func (o *volumeNew) print(w io.Writer, h *luks2.Header, volume luks2.VolumeKey, done string) error {
	if !o.json {
		_, err := fmt.Fprintf(w, "%s %s\n", done, h.UUID())
		return err
	}
	mac, sum := volume.MAC(), h.SubsetDigest()
	return printJSON(w, map[string]any{
		"uuid": h.UUID(), "keyslot": 0,
		"volume_mac": hex.EncodeToString(mac[:]), "subset_digest": hex.EncodeToString(sum[:]),
	})
}

func volumeFormatCommand() *cobra.Command {
	var o volumeNew
	c := &cobra.Command{
		Use:   "format --key-file FILE IMAGE-OR-DEVICE",
		Short: "Make an empty LUKS2 volume",
		Long: `Format writes a LUKS2 header with one keyslot. It never destroys data unless
--overwrite is given: all bytes up to 1 MiB into the payload and the last
1 MiB of the device must be zero. A device that is mounted or mapped is
refused in any case.`,
		Example: `  head -c 32 /dev/urandom > key && truncate -s 1G data.luks2
  latchkey volume format --key-file key --label data data.luks2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file"); err != nil {
				return err
			}
			key, err := newKey(c.ErrOrStderr(), o.keyFile, o.kdf, 0)
			if err != nil {
				return err
			}
			defer key.Passphrase.Wipe()
			f, err := disk.OpenExclusive(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			h, volume, err := o.format(f, key)
			if err != nil {
				return err
			}
			defer volume.Wipe()
			return o.print(c.OutOrStdout(), h, volume, "formatted volume")
		},
	}

	o.flags(c)
	return c
}
