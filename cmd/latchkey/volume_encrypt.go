package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock/luks2"
)

func volumeEncryptCommand() *cobra.Command {
	var o volumeNew
	c := &cobra.Command{
		Use:   "encrypt --key-file FILE PLAIN OUT",
		Short: "Encrypt a file-system image into a LUKS2 image",
		Long: `Encrypt creates the volume OUT and writes PLAIN into it, encrypted. OUT is a
new file, made as large as needed, or an empty block device. PLAIN is not
changed. Encrypt needs neither root nor device-mapper, and uses all cores.`,
		Example: `  mke2fs -t ext4 -d ./root root.ext4 1G
  head -c 32 /dev/urandom > key
  latchkey volume encrypt --key-file key --label root root.ext4 root.luks2`,
		Args: cli.Args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "key-file"); err != nil {
				return err
			}
			key, err := newKey(c.ErrOrStderr(), o.keyFile, o.kdf, 0)
			if err != nil {
				return err
			}
			defer key.Passphrase.Wipe()
			return o.encryptFile(c.Context(), c.OutOrStdout(), key, args[0], args[1])
		},
	}

	o.flags(c)
	return c
}

func (o *volumeNew) encryptFile(ctx context.Context, w io.Writer, key luks2.NewKey, plainPath, outPath string) error {
	plain, err := disk.Open(plainPath, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer plain.Close()
	if _, err := plain.Seek(0, io.SeekStart); err != nil {
		return err
	}

	if plain.Same(outPath) {
		return cli.Usagef("%s and %s are the same file: a volume cannot be encrypted in place", plainPath, outPath)
	}
	out, created, err := o.output(outPath, plain.SizeBytes)
	if err != nil {
		return err
	}

	h, volume, err := o.encrypt(ctx, plain, out, key)
	if err = errors.Join(err, out.Close()); err != nil {
		if created { // half a volume helps nobody
			err = errors.Join(err, os.Remove(outPath))
		}
		return err
	}
	defer volume.Wipe()
	return o.print(w, h, volume, fmt.Sprintf("encrypted %d bytes into volume", plain.SizeBytes))
}

// output opens a block device, or makes a file that holds size bytes of
// payload.
func (o *volumeNew) output(path string, size int64) (f *disk.File, created bool, err error) {
	if st, err := os.Stat(path); err == nil && st.Mode()&fs.ModeDevice != 0 {
		f, err := disk.OpenExclusive(path)
		return f, false, err
	}

	flags := os.O_RDWR | os.O_CREATE | os.O_EXCL
	if o.volume.Overwrite {
		flags = os.O_RDWR | os.O_CREATE
	}
	if f, err = disk.Open(path, flags); err != nil {
		return f, false, err
	}

	const sector = 4096 // also right for 512
	f.SizeBytes = o.volume.OffsetBytes + max((size+sector-1)/sector*sector, sector)
	// To nothing first: what an overwritten file held must not stay.
	if err := errors.Join(f.Truncate(0), f.Truncate(f.SizeBytes)); err != nil {
		return f, false, errors.Join(err, f.Close(), os.Remove(path))
	}

	return f, true, nil
}

func (o *volumeNew) encrypt(ctx context.Context, plain, out *disk.File, key luks2.NewKey) (*luks2.Header, luks2.VolumeKey, error) {
	h, volume, err := o.format(out, key)
	if err != nil {
		return nil, volume, err
	}
	if _, err := h.Encrypt(ctx, out, volume, plain); err != nil {
		return nil, volume, err
	}
	return h, volume, out.Sync()
}
