package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/kms"
	"latchkey/unlock/luks2"
)

// escrowOptions say whether a recovery key is sealed for people and left with
// the key server, and whether it is printed as well.
type escrowOptions struct {
	escrow, quiet bool
	recipients    string
}

func (o *escrowOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&o.escrow, "escrow", false, "seal the recovery key to the owner's recipients, and leave it with the KMS")
	f.BoolVar(&o.quiet, "quiet-key", false, "with --escrow: do not print the recovery key")
	f.StringVar(&o.recipients, "recipients", defaultRecipients, "the file that pins whom recovery keys are sealed to")
}

func (o *escrowOptions) check() error {
	if o.quiet && !o.escrow {
		return cli.Usagef("--quiet-key is for --escrow: nobody would have the key")
	}
	return nil
}

// look asks the key server whom to seal to, and agrees on it.
func (o *escrowOptions) look(ctx context.Context, e *escrowing, h *luks2.Header, f *disk.File) error {
	uuid, err := kms.ParseUUID(h.UUID())
	if err != nil {
		return err
	}
	slots, err := sealedSlots(h, f)
	if err != nil {
		return err
	}
	reply, err := e.ask(ctx, []kms.Want{{UUID: uuid, Digest: h.SubsetDigest(), SeqID: h.SeqID()}}, []kms.RecoveryWord{word(uuid, slots)})
	if err != nil {
		return err
	}
	if s := reply.Volumes[0].Status; s != kms.OK {
		return (&enrollment{id: e.id}).exit(&refusal{uuid, s})
	}
	e.to, err = agreeOn(o.recipients, reply.Recipients, e.say)
	return err
}

// print says what was done, and prints the key if that is wanted. One that the
// key server has is not taken back if it cannot be printed.
func (o *escrowOptions) print(w io.Writer, uuid string, r recoveryKey) error {
	_, err := fmt.Fprintf(w, "recovery key of volume %s (keyslot %d): sealed, and left with the key server; its next boot proves it\n", uuid, r.slot)
	if o.quiet || err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "the key, shown only now:\n\n    ")
	if err = errors.Join(err, r.write(w, "", "\n\n")); err != nil {
		return fmt.Errorf("printing the recovery key: %w; its sealed form is with the key server", err)
	}
	return nil
}

// recover makes the recovery key of an enrollment.
func (o *enrollOptions) recover(ctx context.Context, e *enrollment, f *disk.File) (recoveryKey, error) {
	if !o.escrow {
		return addRecovery(f, f.SizeBytes, e.volume)
	}
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		return recoveryKey{}, err
	}
	keep := &escrowing{client: e.client, urls: []string{o.url}, id: e.id, say: e.say}
	if err := o.look(ctx, keep, h, f); err != nil {
		return recoveryKey{}, err
	}
	return keep.make(ctx, f, f.SizeBytes, e.volume)
}
