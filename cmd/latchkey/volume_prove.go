package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/luks2"
)

// proving is one "volume prove-recovery".
type proving struct {
	announcement
	escrowOptions
	keyFile string
	key     secret.Bytes // of keyFile; empty: there is none
	out     io.Writer
}

func volumeProveCommand() *cobra.Command {
	o := proving{escrowOptions: escrowOptions{escrow: true, quiet: true}}
	c := &cobra.Command{
		Use:   "prove-recovery [DEVICE...]",
		Short: "Prove sealed recovery keys to the key server, and look after them",
		Long: `Prove-recovery is for a unit that runs after each boot. For each volume of
/etc/latchkey/latchkey.yaml it reads the keyslots of sealed recovery keys from
the disk and shows the key server that they are what the key was seen to open:
in another boot than the one that made it, that is the proof.

  replaced  a recovery key that was handed out, or whose keyslot is gone, if
            --key-file has a key of the volume; else that is said
  removed   the keyslots of sealed keys that were replaced, once the key
            server says that the new one is proven

Keyslots of other keys are never touched. Devices are found by their UUIDs,
unless they are named.`,
		Example: `  latchkey volume prove-recovery
  latchkey volume prove-recovery --key-file /etc/latchkey/data.key`,
		Args: cli.Args(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
			o.out = c.OutOrStdout()
			if o.keyFile != "" {
				key, err := readKeyFile(o.keyFile)
				if err != nil {
					return err
				}
				defer key.Wipe()
				o.key = key
			}
			e, done, err := o.escrowing(c.Context(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			defer done()
			return o.run(c.Context(), e, args)
		},
	}
	c.Flags().StringVar(&o.keyFile, "key-file", "", "a key that the volumes have, to replace recovery keys that were used")
	c.Flags().StringVar(&o.recipients, "recipients", defaultRecipients, "the file that pins whom recovery keys are sealed to")
	o.announcement.flags(c)
	return c
}

// run shows all volumes in one exchange, then looks after each. One volume's
// failure stops no other one.
func (o *proving) run(ctx context.Context, e *escrowing, devices []string) error {
	config, err := o.read()
	if err != nil {
		return err
	}
	given, failed := namedDevices(devices)
	var wants []kms.Want
	var words []kms.RecoveryWord
	var paths []string
	for _, v := range config.Volumes {
		path := devicePath(v.UUID, given)
		if len(devices) > 0 && given[v.UUID] == "" {
			continue
		}
		want, w, err := lookAtSealed(path)
		if err != nil && v.NoFail && absent(path) {
			continue
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("volume %s: %w", v.UUID, err))
			continue
		}
		wants, words, paths = append(wants, want), append(words, w), append(paths, path)
	}
	if len(wants) == 0 {
		return failed
	}
	reply, err := e.ask(ctx, wants, words)
	if err != nil {
		return errors.Join(failed, err)
	}
	for i, state := range reply.Volumes {
		if err := o.tend(ctx, e, paths[i], state, len(words[i].Escrows)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("volume %s: %w", state.UUID, err))
		}
	}
	return failed
}

// lookAtSealed reads a volume's keyslots with sealed recovery keys.
func lookAtSealed(path string) (want kms.Want, w kms.RecoveryWord, err error) {
	f, h, err := readVolume(path)
	if err != nil {
		return want, w, err
	}
	defer f.Close()
	want = kms.Want{Digest: h.SubsetDigest(), SeqID: h.SeqID()}
	if want.UUID, err = kms.ParseUUID(h.UUID()); err != nil {
		return want, w, err
	}
	slots, err := sealedSlots(h, f)
	return want, word(want.UUID, slots), err
}

// tend does what the key server's answer asks for.
func (o *proving) tend(ctx context.Context, e *escrowing, path string, s kms.RecoveryState, slots int) error {
	switch {
	case s.Status != kms.OK:
		fmt.Fprintf(o.out, "volume %s: the key server says %s\n", s.UUID, s.Status.Code())
		return nil
	case s.Current == [32]byte{}:
		fmt.Fprintf(o.out, "volume %s has no sealed recovery key: latchkey volume recovery-key --escrow --key-file FILE %s\n", s.UUID, path)
		return nil
	case s.Renew && o.key.Len() == 0:
		fmt.Fprintf(o.out, "volume %s: its recovery key was handed out, or its keyslot is gone: latchkey volume recovery-key --escrow --key-file FILE %s\n", s.UUID, path)
		return nil
	case s.Renew:
		return o.renew(ctx, e, path)
	case !s.Proven:
		fmt.Fprintf(o.out, "volume %s: its recovery key is not proven yet: its next boot proves it\n", s.UUID)
		return nil
	}
	fmt.Fprintf(o.out, "volume %s: its recovery key is proven\n", s.UUID)
	if slots < 2 {
		return nil
	}
	return o.sweep(path, s)
}

// renew makes a recovery key in the place of one that was used.
func (o *proving) renew(ctx context.Context, e *escrowing, path string) error {
	f, h, err := changeVolume(path)
	if err != nil {
		return err
	}
	defer f.Close()
	volume, _, err := h.Unlock(ctx, f, attempt(o.key, luks2.AnySlot))
	if err != nil {
		return volumeExit(path, wrongKey(o.keyFile, o.key, err))
	}
	defer volume.Wipe()
	return o.seal(ctx, o.out, e, h, f, volume)
}

// sweep removes keyslots of sealed keys that are no longer the key server's,
// and of none if the volume lacks the one that is.
func (o *proving) sweep(path string, s kms.RecoveryState) error {
	f, h, err := changeVolume(path)
	if err != nil {
		return err
	}
	defer f.Close()
	slots, err := sealedSlots(h, f)
	if err != nil {
		return err
	}
	var old []sealedSlot
	there := false
	for _, one := range slots {
		switch one.Key {
		case s.Current:
			there = true
		case s.Next:
		default:
			old = append(old, one)
		}
	}
	if !there {
		return errors.New("the key server speaks of a recovery key that the volume does not have")
	}
	for _, one := range old {
		if err := dropSealed(f, one); err != nil {
			return err
		}
		fmt.Fprintf(o.out, "volume %s: removed keyslot %d, whose recovery key was replaced\n", s.UUID, one.slot)
	}
	return nil
}

// dropSealed removes a keyslot if it is still the one that was looked at.
func dropSealed(f *disk.File, one sealedSlot) error {
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		return err
	}
	if now, err := h.Evidence(f, one.slot); err != nil || now != one.Evidence {
		return errors.Join(err, luks2.ErrChanged)
	}
	_, err = h.RemoveKey(f, one.slot, tokensOnly(h, one.slot)...)
	return err
}
