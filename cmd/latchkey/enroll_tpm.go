package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/internal/cli"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/tpm"
)

// enrollTPM are the options of "volume enroll-tpm".
type enrollTPM struct {
	keyFile, tpm string
	pcrs         []int
	publicKey    string
	signed       []int
	slot         int
}

func volumeEnrollTPMCommand() *cobra.Command {
	var o enrollTPM
	c := &cobra.Command{
		Use:   "enroll-tpm --key-file FILE [--pcrs LIST] [--public-key FILE] DEVICE",
		Short: "Give a volume a keyslot that this machine's TPM opens, without a key server",
		Long: `Enroll-tpm seals a new random secret to this machine's TPM and gives it a
keyslot. The token is systemd's: systemd-cryptsetup opens the volume with it,
and systemd-cryptenroll lists and wipes it.

--pcrs names PCRs (bank sha256) that must have the values that they have now:
7 is Secure Boot and its keys. --public-key names the key that signs PCR 11 of
images (image uki --pcr-key); any image that it signed opens the volume. With
neither, any boot of this TPM does, also one from a stick.

What is printed at the end goes into the sources of the volume in
latchkey.yaml: a boot takes no other secret.`,
		Example: `  latchkey volume enroll-tpm --key-file key --pcrs 7 /dev/vda2
  latchkey volume enroll-tpm --key-file key --public-key pcr.pub /dev/vda2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := o.request(c)
			if err != nil {
				return err
			}
			added, err := o.run(c.Context(), args[0], r)
			if err != nil {
				return err
			}
			warnBlank(c.ErrOrStderr(), added.blank)
			_, err = fmt.Fprintf(c.OutOrStdout(), "enrolled volume %s: keyslot %d, %s\nfor latchkey.yaml:\n    sources: [systemd-tpm2: {sealed: [%s]}, prompt]\n",
				added.uuid, added.slot, added.What, added.Sealed)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", `a key that the volume has, "-" for standard input (required)`)
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, tpmUsage)
	o.policyFlags(f)
	f.IntVar(&o.slot, "slot", luks2.AnySlot, "the keyslot to use (-1: the lowest free one)")
	return c
}

// policyFlags are those of what a secret is sealed to.
func (o *enrollTPM) policyFlags(f *pflag.FlagSet) {
	f.IntSliceVar(&o.pcrs, "pcrs", nil, "PCRs that must stay as they are, such as 7 or 0,7")
	f.StringVar(&o.publicKey, "public-key", "", "the RSA key, in PEM, that signs PCRs")
	f.IntSliceVar(&o.signed, "public-key-pcrs", []int{11}, "the PCRs that it signs")
}

// request checks the options before anything is touched.
func (o enrollTPM) request(c *cobra.Command) (r cryptenroll.Request, err error) {
	if err := requireFlags(c, "key-file"); err != nil {
		return r, err
	}
	for _, n := range append(append([]int{}, o.pcrs...), o.signed...) {
		if n < 0 || n > 23 {
			return r, cli.Usagef("there is no PCR %d: want 0 to 23", n)
		}
	}
	for _, n := range o.pcrs {
		if n == 11 || n == 15 {
			return r, cli.Usagef("--pcrs %d: a boot opens its volumes before PCR %d has the value of now; --public-key is for PCR 11", n, n)
		}
	}
	r.PCRs = o.pcrs
	switch {
	case o.publicKey != "":
		r.Signed = o.signed
		r.Key, err = os.ReadFile(o.publicKey)
	case c.Flags().Changed("public-key-pcrs"):
		return r, cli.Usagef("--public-key-pcrs needs --public-key: the key that signs them")
	}
	return r, err
}

// enrolledTPM is what a run has made.
type enrolledTPM struct {
	cryptenroll.Binding
	uuid  string
	slot  int
	blank []int // PCRs of --pcrs that nobody has extended
}

// run opens the volume with the key that it has, before the TPM is asked.
func (o enrollTPM) run(ctx context.Context, path string, r cryptenroll.Request) (made enrolledTPM, err error) {
	key, err := readKeyFile(o.keyFile)
	if err != nil {
		return made, err
	}
	defer key.Wipe()
	f, h, err := changeVolume(path)
	if err != nil {
		return made, err
	}
	defer f.Close()
	volume, _, err := h.Unlock(ctx, f, attempt(key, luks2.AnySlot))
	if err != nil {
		return made, volumeExit(path, wrongKey(o.keyFile, key, err))
	}
	defer volume.Wipe()

	chip, err := tpm.Open(o.tpm)
	if err != nil {
		return made, advise(err)
	}
	defer chip.Close()
	blank, err := blankPCRs(ctx, chip, r.PCRs)
	if err != nil {
		return made, err
	}
	passphrase, token, err := cryptenroll.Bind(ctx, chip, r)
	if err != nil {
		return made, advise(err)
	}
	defer passphrase.Wipe()
	var text json.RawMessage
	after, slot, err := h.AddKey(f, volume, luks2.NewKey{Passphrase: passphrase, Slot: o.slot, Random: true, Token: func(slot int) json.RawMessage {
		text = token(slot)
		return text
	}})
	if err != nil {
		return made, changeAdvice(path, err)
	}
	again, _, err := after.Unlock(ctx, f, luks2.Attempt{Passphrase: passphrase, Slot: slot})
	again.Wipe()
	return enrolledTPM{cryptenroll.Describe(text), h.UUID(), slot, blank}, err
}

// warnBlank names PCRs that tell no boot from another.
func warnBlank(w io.Writer, blank []int) {
	for _, n := range blank {
		fmt.Fprintf(w, "warning: nothing has been measured into PCR %d: any boot that leaves it so opens the volume, on this machine\n", n)
	}
}

// blankPCRs are those that have their value of a reset: TCG PC Client
// Platform TPM Profile, 4.6, table "PCR attributes".
func blankPCRs(ctx context.Context, chip *tpm.TPM, pcrs []int) (blank []int, err error) {
	for _, n := range pcrs {
		value, err := chip.ReadPCR(ctx, n)
		if err != nil {
			return nil, err
		}
		if value == [32]byte{} || value == [32]byte(bytes.Repeat([]byte{0xff}, 32)) {
			blank = append(blank, n)
		}
	}
	return blank, nil
}
