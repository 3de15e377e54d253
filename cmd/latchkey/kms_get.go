package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"latchkey/boot/codes"
	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/internal/meminfo"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// kmsGet is one "kms get".
type kmsGet struct {
	kmsOptions
	devices []string
	disks   map[kms.UUID]*askedDisk
	wants   []kms.Want
}

// An askedDisk is a device whose volume the KMS is asked for.
type askedDisk struct {
	unlock.Volume
	file *disk.File
}

// gotVolume is what became of one volume. It has no place for a secret.
type gotVolume struct {
	UUID    kms.UUID `json:"uuid"`
	Status  string   `json:"status"`
	Mode    string   `json:"mode,omitempty"`
	Staged  bool     `json:"staged,omitempty"`
	Keyslot *int     `json:"keyslot,omitempty"` // that it opens, with --device
}

func kmsGetCommand() *cobra.Command {
	var o kmsGet
	c := &cobra.Command{
		Use:   "get [UUID...] --kms URL --pin KEY",
		Short: "Request volumes' keys as the init does, and show the result",
		Long: `Get runs the whole exchange of a boot: the KMS authenticates itself, this
machine proves its identity with its TPM, and the KMS decides. The keys that
it grants are neither shown nor used. With --device the volume's header is
sent to the KMS, as in a boot, and the granted key is tried on the volume;
nothing is mapped or written.

A machine that the KMS does not know is listed there as pending afterwards.
Exit code 4 means that the KMS refused, and the code says why: pending,
quarantined, pcr15-used and so on.`,
		Example: `  latchkey kms get --device /dev/vda2 --kms http://kms.local:7741 --pin lk1:...
  latchkey kms get 8b7f...-... --kms http://192.0.2.5:7741 --pin lk1:...`,
		Args: cli.Args(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client(c)
			if err != nil {
				return err
			}
			defer o.close()
			if err := o.collect(args); err != nil {
				return err
			}
			id, done, err := openIdentity(c.Context(), o.tpm)
			if err != nil {
				return err
			}
			defer done()
			return o.run(c.Context(), c.OutOrStdout(), client, id)
		},
	}

	o.flags(c)
	c.Flags().StringArrayVar(&o.devices, "device", nil, "LUKS2 device or image of a volume to ask for; may be repeated")
	return c
}

func (o *kmsGet) close() {
	for _, d := range o.disks {
		d.file.Close()
	}
}

// collect finds out what to ask for.
func (o *kmsGet) collect(uuids []string) error {
	o.disks = map[kms.UUID]*askedDisk{}
	for _, path := range o.devices {
		f, h, err := readVolume(path)
		if err != nil {
			return err
		}

		d := &askedDisk{unlock.Volume{Name: path, Device: path, Header: h}, f}
		want, err := d.Wanted()
		if err != nil {
			return errors.Join(err, f.Close())
		}

		if o.disks[want.UUID] != nil {
			return errors.Join(cli.Usagef("--device: %s has the UUID of another --device", path), f.Close())
		}
		o.disks[want.UUID] = d
		o.wants = append(o.wants, want)
	}

	for _, s := range uuids {
		uuid, err := kms.ParseUUID(s)
		if err != nil {
			return cli.Usagef("%w", err)
		}
		if !slices.ContainsFunc(o.wants, func(w kms.Want) bool { return w.UUID == uuid }) {
			o.wants = append(o.wants, kms.Want{UUID: uuid})
		}
	}

	if len(o.wants) == 0 {
		return cli.Usagef("a volume's UUID or --device is required (see latchkey kms get --help)")
	}
	return nil
}

func (o *kmsGet) run(ctx context.Context, w io.Writer, client *kms.Client, id *tpm.Identity) error {
	words := id.NodeID().Words()
	g, err := client.Get(ctx, o.url, id, o.wants)
	if err != nil {
		if o.json {
			err = errors.Join(err, printJSON(w, map[string]any{"words": words, "code": codes.Of(err)}))
		}
		return kmsExit(fmt.Errorf("this machine is %q: %w", words, err), words)
	}
	defer g.Wipe()
	var got []gotVolume
	var failed error
	for _, v := range g.Volumes {
		one, err := o.try(ctx, v, id)
		got, failed = append(got, one), errors.Join(failed, err)
	}

	if err := o.print(w, words, got); err != nil {
		return err
	}
	if i := slices.IndexFunc(got, func(v gotVolume) bool { return v.Status != kms.OK.Code() }); i >= 0 {
		code := got[i].Status
		return &cli.Exit{Code: cli.Refused, Err: fmt.Errorf("%s: the KMS refuses volume %s (%s)", code, got[i].UUID, kmsAdvice(code, words))}
	}

	return failed
}

// try uses what was granted on the device, if there is one.
func (o *kmsGet) try(ctx context.Context, v kms.Granted, id *tpm.Identity) (gotVolume, error) {
	out := gotVolume{UUID: v.UUID, Status: v.Status.Code()}
	if v.Status != kms.OK {
		return out, nil
	}

	out.Mode, out.Staged = v.Active.Kind.String(), v.Staged.Kind != 0
	d := o.disks[v.UUID]
	if d == nil {
		return out, nil
	}

	candidates, err := unlock.Granted(ctx, v, id)
	if err != nil {
		return out, advise(err)
	}
	defer func() {
		for _, c := range candidates {
			c.Passphrase.Wipe()
		}
	}()

	nothing := func(dm.Target, luks2.VolumeKey) error { return nil }
	opened, err := d.Open(ctx, d.file, candidates, unlock.Expect{Digest: v.Digest, MAC: v.MAC}, luks2.NewMemory(meminfo.Available()), nothing)
	if err != nil {
		return out, volumeExit(d.Device, advise(err))
	}

	out.Keyslot = &opened.Slot
	return out, nil
}

func (o *kmsGet) print(w io.Writer, words string, got []gotVolume) error {
	if o.json {
		return printJSON(w, map[string]any{"words": words, "volumes": got})
	}
	for _, v := range got {
		switch {
		case v.Status != kms.OK.Code():
			fmt.Fprintf(w, "refused: %s %s\n", v.UUID, v.Status)
		case v.Keyslot != nil:
			fmt.Fprintf(w, "granted: %s %s, opens keyslot %d\n", v.UUID, v.Mode, *v.Keyslot)
		default:
			fmt.Fprintf(w, "granted: %s %s\n", v.UUID, v.Mode)
		}
	}
	return nil
}
