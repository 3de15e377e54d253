package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock/luks2"
)

// newRecovery are the options of "volume recovery-key".
type newRecovery struct {
	announcement
	escrowOptions
	keyFile string
}

func volumeRecoveryCommand() *cobra.Command {
	var o newRecovery
	c := &cobra.Command{
		Use:   "recovery-key --key-file FILE IMAGE-OR-DEVICE",
		Short: "Add a recovery key to a volume, and print it once",
		Long: `Recovery-key makes a key that a person can type, gives it a keyslot and prints
it, once: write it down. systemd-cryptenroll lists and wipes it as one of its
own recovery keys. To type it at the console of a boot, the volume in
latchkey.yaml must list the source prompt.

With --escrow it is sealed as well, to the recipients that the key server of
/etc/latchkey/latchkey.yaml names, and left there: the key server cannot read
it, and hands it out once to a person who says why (latchkey-kms recovery). The
first time, the recipients are shown and written into the file of --recipients;
from then on the key server's must be the same. --quiet-key does not print it.
It takes the place of one that is there once a boot has proven it.`,
		Example: `  latchkey volume recovery-key --key-file key /dev/vda2
  latchkey volume recovery-key --escrow --quiet-key --key-file key /dev/vda2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(requireFlags(c, "key-file"), o.check()); err != nil {
				return err
			}
			key, err := readKeyFile(o.keyFile)
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
				return volumeExit(args[0], wrongKey(o.keyFile, key, err))
			}
			defer volume.Wipe()
			if o.escrow {
				e, done, err := o.escrowing(c.Context(), c.ErrOrStderr())
				if err != nil {
					return err
				}
				defer done()
				return o.seal(c.Context(), c.OutOrStdout(), e, h, f, volume)
			}
			return printRecovery(c.OutOrStdout(), f, h, volume)
		},
	}

	c.Flags().StringVar(&o.keyFile, "key-file", "", `a key that the volume has, "-" for standard input (required)`)
	o.escrowOptions.flags(c)
	o.announcement.flags(c)
	return c
}

func printRecovery(w io.Writer, f *disk.File, h *luks2.Header, volume luks2.VolumeKey) error {
	made, err := addRecovery(f, f.SizeBytes, volume)
	if err != nil {
		return changeAdvice(f.Name(), err)
	}
	defer made.text.Wipe()
	_, err = fmt.Fprintf(w, "recovery key of volume %s (keyslot %d), shown only now; write it down, dashes and all:\n\n    ", h.UUID(), made.slot)
	if err = errors.Join(err, made.write(w, "", "\n\n")); err != nil {
		return made.takeBack(f, err)
	}
	return nil
}

// escrowing is for the key server of the configuration.
func (o *announcement) escrowing(ctx context.Context, say io.Writer) (e *escrowing, done func(), err error) {
	config, err := o.read()
	if err != nil {
		return nil, nil, err
	}
	client, urls, _, err := o.ask(config)
	if err != nil {
		return nil, nil, err
	}
	id, done, err := openIdentity(ctx, o.tpm)
	return &escrowing{client: client, urls: urls, id: id, say: sayTo(say)}, done, err
}

// seal makes a sealed recovery key for a volume that was opened.
func (o *escrowOptions) seal(ctx context.Context, w io.Writer, e *escrowing, h *luks2.Header, f *disk.File, volume luks2.VolumeKey) error {
	if err := o.look(ctx, e, h, f); err != nil {
		return err
	}
	made, err := e.make(context.WithoutCancel(ctx), f, f.SizeBytes, volume)
	if err != nil {
		return changeAdvice(f.Name(), err)
	}
	defer made.text.Wipe()
	return o.print(w, h.UUID(), made)
}

// sayTo says what is to be known on the way.
func sayTo(w io.Writer) func(format string, args ...any) {
	return func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
}
