package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/hosttab"
	"latchkey/internal/meminfo"
	"latchkey/kms"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

func volumeEnrollCommand() *cobra.Command { return enrollCommand(&enrollOptions{}) }

func enrollCommand(o *enrollOptions) *cobra.Command {
	c := &cobra.Command{
		Use:   "enroll DEVICE --kms URL --pin KEY --key-file FILE",
		Short: "Give a volume a keyslot that this machine opens by itself at boot",
		Long: `Enroll adds a keyslot with a new random secret to a LUKS2 volume, mapped or
not, and registers the volume with the KMS:

  automated  the secret is sealed to this machine's TPM and only the sealed
             form is given to the KMS: both are needed, and the KMS cannot
             read it (default)
  static     the KMS holds the secret itself, so that the volume can be opened
             after the mainboard was replaced

If the KMS does not know this machine, enroll prints the machine's six words
and waits until an operator has approved them. At the end it prints a recovery
key, once: write it down. --escrow also seals it for people and leaves it with
the KMS, as latchkey volume recovery-key does.

The volume's existing keys stay. After a power cut at any moment they still
open it; run enroll again, which removes what the first run left behind. The
KMS never replaces a key that it has for a volume.

Enroll warns of keyslots that the init would skip, and says what /etc/crypttab
calls the volume: the plan must use the same name.`,
		Example: `  latchkey volume enroll /dev/vda2 --key-file key --kms http://kms.local:7741 --pin lk1:...
  latchkey volume enroll /dev/vda2 --key-file - --mode static --kms http://192.0.2.5:7741 --pin lk1:...`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			e, err := o.prepare(c)
			if err != nil {
				return err
			}
			return o.run(ctx, c, e, args[0])
		},
	}

	o.flags(c)
	return c
}

// enrollOptions are the options of "volume enroll".
type enrollOptions struct {
	kmsOptions
	escrowOptions
	keyFile, mode string
	slot          int
	noRecovery    bool
	noWait        bool
	named         bool // the plan will call the volume as /etc/crypttab does
}

func (o *enrollOptions) flags(c *cobra.Command) {
	o.kmsOptions.flags(c)
	o.escrowOptions.flags(c)
	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", `a key that the volume has, "-" for standard input (required)`)
	f.StringVar(&o.mode, "mode", kms.Bound.String(), "automated or static")
	f.IntVar(&o.slot, "slot", luks2.AnySlot, "the keyslot to use (-1: the lowest free one)")
	f.BoolVar(&o.noRecovery, "no-recovery", false, "add no recovery key")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait for the operator: exit with 4")
}

// prepare checks all options before anything is touched.
func (o *enrollOptions) prepare(c *cobra.Command) (*enrollment, error) {
	client, err := o.client(c)
	if err != nil {
		return nil, err
	}

	if err := errors.Join(requireFlags(c, "key-file"), o.escrowOptions.check()); err != nil {
		return nil, err
	}
	if o.escrow && o.noRecovery {
		return nil, cli.Usagef("--escrow seals the recovery key, and --no-recovery makes none: use one of them")
	}
	e := &enrollment{client: client, url: o.url, slot: o.slot, wait: !o.noWait, named: o.named, say: func(format string, args ...any) {
		fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...)
	}}
	if e.needs = 2; o.noRecovery {
		e.needs = 1
	}
	switch o.mode {
	case kms.Static.String():
		e.mode = kms.Static
	case kms.Bound.String():
		e.mode = kms.Bound
	default:
		return nil, cli.Usagef("--mode %q: must be automated or static", o.mode)
	}

	return e, nil
}

// An enrollment is what the steps of one enrollment share.
type enrollment struct {
	client *kms.Client
	url    string
	id     *tpm.Identity
	mode   kms.Kind
	slot   int
	wait   bool
	named  bool
	say    func(format string, args ...any)

	volume luks2.VolumeKey
	opened int // the keyslot of the operator's key
	needs  int // keyslots: the machine's, and the recovery key's
	want   kms.Want
}

// run is the whole enrollment. Until the KMS takes this machine for one
// that is approved, the device is only read, and not held: a wait may take
// days.
func (o *enrollOptions) run(ctx context.Context, c *cobra.Command, e *enrollment, path string) (err error) {
	id, done, err := openIdentity(ctx, o.tpm)
	if err != nil {
		return err
	}
	defer done()
	e.id = id
	if err := e.unlock(ctx, path, o.keyFile); err != nil {
		return err
	}
	defer e.volume.Wipe()
	if err := e.register(ctx); err != nil {
		return err
	}

	ctx = context.WithoutCancel(ctx) // from here on it is quick, and whole
	f, err := openToChange(path)
	if err != nil {
		return err
	}
	defer f.Close()
	out := enrolled{UUID: e.want.UUID, Mode: e.mode, NodeID: id.NodeID(), Words: id.NodeID().Words()}
	out.Keyslot, err = e.commit(ctx, f, f.SizeBytes)
	if there, ok := errors.AsType[*already](err); ok {
		out.Keyslot, out.already, err = there.slot, true, nil
	}
	if err != nil {
		return changeAdvice(path, err)
	}

	wanted := !o.noRecovery
	if wanted && out.already {
		h, err := luks2.ReadAny(f, f.SizeBytes)
		if err != nil {
			return err
		}
		wanted = !hasRecovery(h, o.escrow) // a run that was cut short did not come to it
	}
	if wanted {
		recovery, err := o.recover(ctx, e, f)
		if err != nil {
			return fmt.Errorf("volume %s is enrolled, but has no recovery key: %w", e.want.UUID, err)
		}
		defer recovery.text.Wipe()
		out.recovery, out.sealed, out.quiet = &recovery, o.escrow, o.quiet
	}

	return out.print(c.OutOrStdout(), o.json)
}

// warn says what is wrong with the volume before somebody relies on it.
func (e *enrollment) warn(h *luks2.Header) {
	for _, k := range h.Skipped() {
		e.say("warning: keyslot %d will be skipped by the init: %v", k.ID, k.Reason)
	}
	for _, text := range warnings(h, luks2.NewMemory(meminfo.Total())) {
		e.say("warning: %s", text)
	}
	if e.named {
		return
	}
	name, err := hosttab.Host{Root: "/"}.CrypttabName(h.UUID())
	if err != nil {
		e.say("warning: reading the host's tables: %v", err)
	}
	if name != "" {
		e.say("/etc/crypttab calls this volume %q: write name: %s in latchkey.yaml, so that the running system finds it open", name, name)
	}
}

// unlock opens the volume with the operator's key, which is not needed
// after that.
func (e *enrollment) unlock(ctx context.Context, path, keyFile string) error {
	f, h, err := readVolume(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := notMember(f); err != nil {
		return err
	}
	switch {
	case h.Type() == "LUKS1":
		return volumeExit(path, luks2.ErrLUKS1)
	case h.OtherCopy() == luks2.CopyDamaged:
		return changeAdvice(path, luks2.ErrCopyDamaged)
	}
	e.warn(h)
	uuid, err := kms.ParseUUID(h.UUID())
	if err != nil {
		return err
	}

	if uuid.Named() {
		return cli.Usagef("%s has a UUID that is made of a name, %s, as Kairos makes one of the partition's label: other machines' volumes have it, too, and a key server keeps one volume by it; give this one its own first: cryptsetup luksUUID --uuid $(uuidgen --random) %[1]s", path, uuid)
	}

	e.want = kms.Want{UUID: uuid, Digest: h.SubsetDigest(), SeqID: h.SeqID()}
	key, err := readKeyFile(keyFile)
	if err != nil {
		return err
	}
	defer key.Wipe()
	e.volume, e.opened, err = h.Unlock(ctx, f, attempt(key, luks2.AnySlot))
	if err != nil {
		return volumeExit(path, wrongKey(keyFile, key, err))
	}
	return e.room(h)
}
