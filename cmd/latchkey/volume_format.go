package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

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
	ifEmpty      bool // of format
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
--overwrite is given: all bytes up to 1 MiB into the payload, the last 1 MiB
of the device, and samples between them must be zero. What is not is named: a
file system, a partition table, LVM, md, ZFS, bcache, swap, LUKS. A device
that is mounted or mapped is refused in any case.

With --if-empty and --uuid it ends well, and changes nothing, if the device
has that volume already: a unit may run it in each boot.`,
		Example: `  head -c 32 /dev/urandom > key && truncate -s 1G data.luks2
  latchkey volume format --key-file key --label data data.luks2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file"); err != nil {
				return err
			}
			switch there, err := o.there(args[0]); {
			case err != nil:
				return err
			case there:
				return o.printThere(c.OutOrStdout())
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
	c.Flags().BoolVar(&o.ifEmpty, "if-empty", false, "end well if the device has the volume of --uuid already")
	return c
}

// there tells for --if-empty whether the device has the volume already. What
// else it has is left to the proof that it is empty.
func (o *volumeNew) there(path string) (bool, error) {
	switch {
	case !o.ifEmpty:
		return false, nil
	case o.volume.UUID == "" || o.volume.Overwrite:
		return false, cli.Usagef("--if-empty needs --uuid, which tells the volume, and goes without --overwrite")
	}
	f, err := disk.Open(path, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		if !isRejected(err) {
			return false, err
		}
		return false, nil
	}
	return strings.EqualFold(h.UUID(), o.volume.UUID), nil
}

func (o *volumeNew) printThere(w io.Writer) error {
	if o.json {
		return printJSON(w, map[string]any{"uuid": o.volume.UUID, "there": true})
	}
	_, err := fmt.Fprintf(w, "volume %s is there already: nothing was changed\n", o.volume.UUID)
	return err
}
