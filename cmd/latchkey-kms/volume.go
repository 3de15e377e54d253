package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"

	"latchkey/kms/server/lk1"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/secret"
	"latchkey/kms"
)

func volumeCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "volume", Short: "Store, list and rotate the secrets of volumes", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `A volume is one LUKS volume, identified by its UUID ("cryptsetup luksUUID DEVICE").`,
	}
	c.AddCommand(volumeList(ask, out), volumeShow(ask, out), volumePut(ask, out), volumeRotate(ask, out),
		volumeDelete(ask, out), volumeUndelete(ask, out),
		volumeChange(ask, out, "accept-header", "Accept the LUKS header that the machine showed last",
			"For a volume whose header was restored from a backup or made again: the KMS\nrefuses a header that differs from the enrolled one (header-differs) or is older\n(header-rollback)."))
	return c
}

func volumeList(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List volumes", Args: cli.Args(cobra.NoArgs),
		Example: "  latchkey-kms volume list",
		RunE: func(c *cobra.Command, _ []string) error {
			var volumes []lk1.Volume
			if err := ask.call(c.Context(), "GET", "/v1/volumes", nil, nil, &volumes); err != nil {
				return err
			}
			return out.show(c, volumes, func() { printVolumes(c.OutOrStdout(), volumes) })
		},
	}
}

func printVolumes(out io.Writer, volumes []lk1.Volume) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "UUID\tMODE\tMACHINE\tSTAGED\tCHANGED")
	for _, v := range volumes {
		machine := cmp.Or(v.Words, "(none yet)")
		switch {
		case v.Deleted != nil:
			machine += " (deleted, kept until " + v.Deleted.Until.Local().Format("2006-01-02 15:04") + ")"
		case v.Words == "":
		case !v.Bound:
			machine += " (proposed)"
		case v.Older != nil:
			machine += " (its disk is older than its last rotation)"
		case v.SealedTo != (kms.NodeID{}):
			machine += " (to be enrolled again)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%t\t%s\n", v.UUID, v.Mode, machine, v.Staged || v.Due, v.Changed.Local().Format("2006-01-02 15:04"))
	}
}

func volumeShow(ask *asker, out *output) *cobra.Command {
	return &cobra.Command{
		Use: "show UUID", Short: "Show one volume, never its secret", Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms volume show " + exampleUUID,
		RunE: func(c *cobra.Command, args []string) error {
			var rows []lk1.Volume
			if err := ask.volume(c, "GET", "/v1/volume", args[0], nil, &rows); err != nil {
				return err
			}
			return out.show(c, rows, func() {
				for _, v := range rows {
					printVolume(c.OutOrStdout(), v)
				}
			})
		},
	}
}

// printVolume shows one row of a volume.
func printVolume(w io.Writer, v lk1.Volume) {
	fmt.Fprintf(w, "uuid:       %s\nmode:       %s\nmachine:    %s\nbound:      %t\nrotation:   %s\nheader:     %s\nvolume key: %s\nseqid from: %d\n",
		v.UUID, v.Mode, v.Words, v.Bound, rotating(v), known(v.Digest != nil), known(v.MAC != nil), v.MinSeq)
	if d := v.Deleted; d != nil {
		fmt.Fprintf(w, "deleted:    %s by %s, kept until %s\n", d.At.Local().Format("2006-01-02 15:04"), d.By, d.Until.Local().Format("2006-01-02 15:04"))
	}
	for _, k := range v.Kept {
		fmt.Fprintf(w, "kept:       the secret that was replaced %s, until %s\n", k.Replaced.Local().Format("2006-01-02 15:04"), k.Until.Local().Format("2006-01-02 15:04"))
	}
	if o := v.Older; o != nil {
		fmt.Fprintf(w, "OLDER DISK: %s it was given the secret of before %s: it is older than that rotation, as one that was restored\n", o.Seen.Local().Format("2006-01-02 15:04"), o.Replaced.Local().Format("2006-01-02 15:04"))
	}
	if v.SealedTo != (kms.NodeID{}) {
		fmt.Fprintf(w, "sealed to:  %s, not to this machine's TPM: enroll it again (latchkey volume enroll)\n", v.SealedTo.Words())
	}
}

func known(yes bool) string {
	if yes {
		return "recorded"
	}
	return "not recorded yet"
}

// volumeChange is a command that changes one volume.
func volumeChange(ask *asker, out *output, verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " UUID", Short: short, Long: long, Args: cli.Args(cobra.ExactArgs(1)),
		Example: "  latchkey-kms volume " + verb + " " + exampleUUID,
		RunE: func(c *cobra.Command, args []string) error {
			var done struct{}
			if err := ask.volume(c, "POST", "/v1/volume/"+verb, args[0], nil, &done); err != nil {
				return err
			}
			return out.show(c, done, func() { fmt.Fprintf(c.OutOrStdout(), "%s: volume %s\n", verb, args[0]) })
		},
	}
}

const exampleUUID = "8b7f0000-0000-4000-8000-000000000001"

// rotating says how far a rotation is.
func rotating(v lk1.Volume) string {
	switch {
	case v.Due:
		return "waiting for its machine to make the next secret"
	case v.Staged && v.Proven:
		return "waiting for a backup that has the next secret (store backup), then for its machine to boot"
	case v.Staged:
		return "waiting for its machine to boot"
	}
	return "none"
}

func volumeRotate(ask *asker, out *output) *cobra.Command {
	var abort, forget bool
	c := &cobra.Command{
		Use: "rotate UUID", Short: "Replace a volume's secret with a new one",
		Long: `Has the volume's machine replace the secret that opens it. At its next boot the
machine adds a keyslot for the next secret, tests it, reports, and removes the
old keyslot. The next secret is made here or, if it is sealed to the machine's
TPM, by the machine. After a power cut at any moment one of the two opens the
volume. --abort cancels a rotation that the machine has not reported yet. "volume
show" tells whether one is in progress.

The old secret is kept for 30 days ("retention: secrets" in kms.yaml), so that a
disk that is restored from a backup of before opens, once "volume accept-header"
takes its header. --forget keeps none: when the old secret has leaked.`,
		Example: "  latchkey-kms volume rotate " + exampleUUID + "\n  latchkey-kms volume rotate --forget " + exampleUUID,
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			verb, done := "rotate", "the machine of volume %s replaces its secret at the next boot\n"
			query := url.Values{"uuid": args}
			switch {
			case abort && forget:
				return cli.Usagef("--abort ends a rotation, --forget begins one: use one of them")
			case abort:
				verb, done = "rotate-abort", "canceled the rotation of volume %s\n"
			case forget:
				query.Set("forget", "true")
			}
			var nothing struct{}
			if err := ask.volumeBy(c, "POST", "/v1/volume/"+verb, query, nil, &nothing); err != nil {
				return err
			}
			return out.show(c, nothing, func() { fmt.Fprintf(c.OutOrStdout(), done, args[0]) })
		},
	}

	c.Flags().BoolVar(&abort, "abort", false, "cancel a rotation that the machine has not reported yet")
	c.Flags().BoolVar(&forget, "forget", false, "keep no secret that a rotation replaced, nor the one that this one replaces")
	return c
}

// volume asks about one volume, once its UUID is one.
func (ask *asker) volume(c *cobra.Command, method, path, uuid string, body, to any) error {
	return ask.volumeBy(c, method, path, url.Values{"uuid": {uuid}}, body, to)
}

// volumeBy is volume with a query that says more.
func (ask *asker) volumeBy(c *cobra.Command, method, path string, query url.Values, body, to any) error {
	if _, err := kms.ParseUUID(query.Get("uuid")); err != nil {
		return cli.Usagef("%w", err)
	}
	return ask.call(c.Context(), method, path, query, body, to)
}

func volumePut(ask *asker, out *output) *cobra.Command {
	var generate bool
	var keyFile, output string
	c := &cobra.Command{
		Use:   "put UUID",
		Short: "Store the passphrase of a volume",
		Long: `Stores the passphrase of a volume, before or after its machine is known. It
never replaces one. A generated passphrase is 256 random bits in 43 characters;
--output writes it to a file, so that you can add it to the volume.`,
		Example: `  latchkey-kms volume put 8b7f0000-0000-4000-8000-000000000001 --generate --output key
  cryptsetup luksAddKey DEVICE key
  latchkey-kms volume put 8b7f0000-0000-4000-8000-000000000001 --key-file key`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if generate == (keyFile != "") || output != "" && !generate {
				return cli.Usagef("use either --generate (with or without --output) or --key-file")
			}
			passphrase, err := passphrase(c.InOrStdin(), keyFile, output)
			if err != nil {
				return err
			}
			defer passphrase.Wipe()
			var rows []lk1.Volume
			if err := ask.volume(c, "POST", "/v1/volume/put", args[0], passphrase.Reveal(), &rows); err != nil {
				if output != "" && refused(err) {
					err = errors.Join(err, os.Remove(output))
				}
				return err
			}
			return out.show(c, rows, func() { fmt.Fprintf(c.OutOrStdout(), "stored the passphrase of volume %s\n", args[0]) })
		},
	}

	c.Flags().BoolVar(&generate, "generate", false, "generate the passphrase")
	c.Flags().StringVar(&keyFile, "key-file", "", "file whose bytes are the passphrase, a final newline included; - is standard input")
	c.Flags().StringVar(&output, "output", "", "file to create for the generated passphrase")
	return c
}

// refused tells whether the key server took nothing. If its answer was lost,
// it may have the passphrase, and the file stays.
func refused(err error) bool {
	exit, ok := errors.AsType[*cli.Exit](err)
	return ok && (exit.Code == cli.Refused || exit.Code == cli.Usage)
}

// passphrase reads one, or generates one and writes it out first: one that
// the KMS has and nobody could put on the disk would be of no use.
func passphrase(stdin io.Reader, keyFile, output string) (secret.Bytes, error) {
	if keyFile == "" {
		p := secret.Passphrase()
		if output == "" {
			return p, nil
		}

		f, err := os.OpenFile(output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return p, fmt.Errorf("writing the passphrase: %w", err)
		}

		_, err = f.Write(p.Reveal())
		if closing := f.Close(); err == nil {
			err = closing
		}
		return p, err
	}

	from := stdin
	if keyFile != "-" {
		f, err := datafile.OpenRead(keyFile)
		if err != nil {
			return secret.Bytes{}, fmt.Errorf("reading the passphrase: %w", err)
		}
		defer f.Close()
		from = f
	}

	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(from, kms.MaxSecret+1)); err != nil {
		return secret.Bytes{}, fmt.Errorf("reading the passphrase: %w", err)
	}
	return secret.Own(b.Bytes()), nil
}
