package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	bootreport "latchkey/boot/report"
	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// resealVolume are the options of "volume reseal".
type resealVolume struct {
	keyFile, tpm, report, uki, booted string
	pcrs                              []string
	finish, json                      bool

	start *start // what --uki was computed from
}

func volumeResealCommand() *cobra.Command {
	var o resealVolume
	c := &cobra.Command{
		Use:   "reseal [--pcr N=HEX] [--uki NEW --booted OLD] [--finish] DEVICE",
		Short: "Have the TPM open a volume in a boot whose PCRs will be others",
		Long: `Reseal announces a change to the keyslots that enroll-tpm bound to values of
PCRs: it seals a second secret to the values to come and gives it a keyslot,
with the old one beside it. After a boot that used the new keyslot, reseal
--finish removes the old one; run it in each boot, by a unit. If the change
never comes, the old one goes on opening the volume.

--pcr says what a PCR will be, bank sha256. --uki computes PCR 4 for a
unified kernel image that will be started in place of the one that is booted
now, --booted, from the event log of this boot. PCRs that are not named stay
as they are now. What changes unannounced is left to the next source of the
volume, and the boot says which PCR changed.

The new sealed secret that is printed belongs into latchkey.yaml beside the
old one before the change, unless the volume's digest is pinned there.`,
		Example: `  latchkey volume enroll-tpm --key-file key --pcrs 7 root.luks2
  latchkey volume reseal --key-file key --pcr 7=$(sha256sum key | cut -c 1-64) root.luks2
  latchkey volume reseal --finish root.luks2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, args[0]) },
	}

	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", `a key that the volume has, "-" for standard input (required to announce)`)
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, tpmUsage)
	f.Var(cli.List(&o.pcrs), "pcr", "a PCR and the value that it will have, as 7=HEX; may be repeated")
	f.StringVar(&o.uki, "uki", "", "the unified kernel image that will be started")
	f.StringVar(&o.booted, "booted", "", "the one that was started in this boot")
	f.BoolVar(&o.finish, "finish", false, "remove what this boot shows to be of no more use")
	f.StringVar(&o.report, "report", bootreport.File, "the report of this boot")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

func (o *resealVolume) run(c *cobra.Command, path string) error {
	values, err := o.values()
	if err != nil {
		return err
	}
	switch {
	case o.finish && (len(values) > 0 || o.keyFile != ""):
		return cli.Usagef("--finish goes by what this boot has used: leave out --pcr, --uki and --key-file")
	case !o.finish && len(values) == 0:
		return cli.Usagef("say what will change: --pcr N=HEX or --uki NEW --booted OLD (see %s --help)", c.CommandPath())
	}
	f, h, err := changeVolume(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := resealing{f, f.SizeBytes, ""}
	if r.boot, err = bootName(o.report); err != nil {
		return err
	}
	if o.finish {
		return o.end(c.OutOrStdout(), r, h)
	}
	if err := requireFlags(c, "key-file"); err != nil {
		return err
	}
	if err := concerned(h, values); err != nil {
		return err
	}
	made, err := o.announce(c.Context(), r, f, h, values)
	if err != nil {
		return changeAdvice(path, err)
	}
	return o.print(c.OutOrStdout(), h, made)
}

// values are what is said of PCRs to come.
func (o *resealVolume) values() (map[int][32]byte, error) {
	all := map[int][32]byte{}
	for _, text := range o.pcrs {
		number, value, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		raw, hexErr := hex.DecodeString(value)
		if err != nil || hexErr != nil || len(raw) != 32 || n < 0 || n > 23 {
			return nil, cli.Usagef("--pcr %q: want a number from 0 to 23, =, and 64 hex digits", text)
		}
		all[n] = [32]byte(raw)
	}
	if (o.uki == "") != (o.booted == "") {
		return nil, cli.Usagef("--uki and --booted go together: the image to come, and the one that it replaces")
	}
	if o.uki == "" {
		return all, nil
	}
	s, err := startOf(tpm.EventLog, o.booted, o.uki)
	all[4], o.start = s.next, &s
	return all, err
}

func (o *resealVolume) announce(ctx context.Context, r resealing, f *disk.File, h *luks2.Header, values map[int][32]byte) ([]resealed, error) {
	key, err := readKeyFile(o.keyFile)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	volume, _, err := h.Unlock(ctx, f, attempt(key, luks2.AnySlot))
	if err != nil {
		return nil, volumeExit(f.Name(), wrongKey(o.keyFile, key, err))
	}
	defer volume.Wipe()
	chip, err := tpm.Open(o.tpm)
	if err != nil {
		return nil, err
	}
	defer chip.Close()
	if o.start != nil {
		is, err := chip.ReadPCR(ctx, 4)
		if err == nil && is != o.start.now {
			err = errors.New("the event log of this boot does not add up to PCR 4: what an image would make of it cannot be computed; --pcr 4=HEX says it")
		}
		if err != nil {
			return nil, err
		}
	}
	return r.stage(ctx, chip, volume, values)
}

func (o *resealVolume) print(w io.Writer, h *luks2.Header, made []resealed) error {
	if o.json {
		return printJSON(w, map[string]any{"uuid": h.UUID(), "added": append([]resealed{}, made...)})
	}
	for _, one := range made {
		fmt.Fprintf(w, "keyslot %d of volume %s: %s\nbeside the old one, for latchkey.yaml: sealed: [%s]\n", one.Keyslot, h.UUID(), one.What, one.Sealed)
	}
	if len(made) == 0 {
		fmt.Fprintf(w, "nothing was added to volume %s: its keyslots for a boot to come are there already (latchkey volume inspect); latchkey volume remove-key withdraws one\n", h.UUID())
	}
	return nil
}

// end is --finish.
func (o *resealVolume) end(w io.Writer, r resealing, h *luks2.Header) error {
	opened, err := openedBy(o.report, h.UUID())
	if err != nil {
		return err
	}
	removed, waiting, err := r.finish(opened)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(w, map[string]any{"uuid": h.UUID(), "removed": append([]int{}, removed...), "waiting": append([]int{}, waiting...)})
	}
	switch {
	case len(removed) > 0:
		_, err = fmt.Fprintf(w, "removed keyslots %d of volume %s: this boot used their successors\n", removed, h.UUID())
	case len(waiting) > 0:
		_, err = fmt.Fprintf(w, "keyslots %d of volume %s wait for the boot that was announced\n", waiting, h.UUID())
	default:
		_, err = fmt.Fprintf(w, "volume %s has nothing to finish\n", h.UUID())
	}
	return err
}
