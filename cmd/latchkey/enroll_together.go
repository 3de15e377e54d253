package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/together"
	"latchkey/unlock/tpm"
)

// enrollTogether are the options of "volume enroll-together".
type enrollTogether struct {
	kmsOptions
	sealing        enrollTPM
	of             []string
	need           int
	partFile, mode string
	noWait         bool
}

func volumeEnrollTogetherCommand() *cobra.Command {
	var o enrollTogether
	c := &cobra.Command{
		Use:   "enroll-together --key-file FILE --of SOURCES [--kms URL --pin KEY] DEVICE",
		Short: "Give a volume a keyslot that several sources open together only",
		Long: `Enroll-together gives a volume a keyslot whose passphrase is derived from what
all of some sources have (HKDF-SHA256). Without one of them the others open
nothing:

  kms           new random bytes that the KMS at --kms keeps for the volume
  systemd-tpm2  new random bytes that this machine's TPM keeps, under the PCRs
                of --pcrs and --public-key, as with enroll-tpm
  key-file      the file --part-file, on a stick that you plug in, say

--need 2 with three sources adds a keyslot for each two of them: nothing that
is less than two is kept anywhere.

The KMS must not have a key for the volume yet: it keeps one for each, and what
it has is a part then, which opens nothing alone. What is printed at the end
goes into latchkey.yaml. The volume's existing keys stay, and after a power cut
at any moment they still open it.`,
		Example: `  latchkey volume enroll-together --key-file key --of kms,systemd-tpm2 --pcrs 7 \
    --kms http://kms.local:7741 --pin lk1:... /dev/vda2
  latchkey volume enroll-together --key-file key --of systemd-tpm2,key-file \
    --part-file /mnt/shop.key /dev/vda2`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			t, err := o.prepare(c)
			if err != nil {
				return err
			}
			defer t.wipe()
			if err := t.run(ctx, args[0], o.sealing.keyFile); err != nil {
				return err
			}
			if o.json {
				return printJSON(c.OutOrStdout(), t.json())
			}
			return t.print(c.OutOrStdout())
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.sealing.keyFile, "key-file", "", `a key that the volume has, "-" for standard input (required)`)
	f.Var(cli.List(&o.of), "of", "the sources: kms, systemd-tpm2, key-file (required)")
	f.IntVar(&o.need, "need", 0, "how many of them open the volume (0: all)")
	f.StringVar(&o.partFile, "part-file", "", "the file whose content is the part of key-file")
	f.StringVar(&o.mode, "mode", kms.Static.String(), "how the KMS keeps its part: static, or automated (sealed to this TPM)")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait for the operator: exit with 4")
	o.sealing.policyFlags(f)
	c.Flags().Lookup("kms").Usage = "the KMS, as http://HOST[:PORT], if it is one of the sources"
	c.Flags().Lookup("pin").Usage = `the key of the KMS, as "latchkey-kms trust" prints it: lk1:...; may be repeated`
	return c
}

// prepare checks all options before anything is touched.
func (o *enrollTogether) prepare(c *cobra.Command) (t *togetherEnrollment, err error) {
	if err := requireFlags(c, "key-file", "of"); err != nil {
		return nil, err
	}
	ways, err := o.ways()
	if err != nil {
		return nil, err
	}
	t = &togetherEnrollment{
		enrollment: &enrollment{url: o.url, slot: luks2.AnySlot, wait: !o.noWait, needs: len(ways)},
		tpmPath:    o.tpm, ways: ways, partFile: o.partFile,
	}
	t.say = func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) }
	for _, one := range []struct {
		member string
		flags  []string
	}{{together.KMS, []string{"kms", "pin", "mode"}}, {together.KeyFile, []string{"part-file"}}, {together.TPM, []string{"pcrs", "public-key", "public-key-pcrs"}}} {
		for _, flag := range one.flags {
			if c.Flags().Changed(flag) && !slices.Contains(o.of, one.member) {
				return nil, cli.Usagef("--%s is of %s, which --of does not name", flag, one.member)
			}
		}
	}
	if slices.Contains(o.of, together.KMS) {
		if t.client, err = o.client(c); err != nil {
			return nil, err
		}
		if t.mode = map[string]kms.Kind{"static": kms.Static, "automated": kms.Bound}[o.mode]; t.mode == 0 {
			return nil, cli.Usagef("--mode %q: must be automated or static", o.mode)
		}
	}
	if slices.Contains(o.of, together.KeyFile) {
		if err := requireFlags(c, "part-file"); err != nil {
			return nil, err
		}
	}
	t.request, err = o.sealing.request(c)
	return t, err
}

// ways are the sets of sources that are to open the volume.
func (o *enrollTogether) ways() (ways [][]string, err error) {
	of := slices.Sorted(slices.Values(o.of))
	if err := together.CheckMembers(of); err != nil {
		return nil, cli.Usagef("--of: %w: want some of %s", err, strings.Join(together.Kinds, ", "))
	}
	switch {
	case o.need == 0 || o.need == len(of):
		return [][]string{of}, nil
	case o.need < 2 || o.need > len(of):
		return nil, cli.Usagef("--need %d: want 2 to %d", o.need, len(of))
	}
	for i := range of { // two of three
		ways = append(ways, slices.Delete(slices.Clone(of), i, i+1))
	}
	return ways, nil
}

// needed is how many of the sources open the volume.
func (t *togetherEnrollment) needed() int { return len(t.ways[0]) }

// sources are all of them, in the order of latchkey.yaml.
func (t *togetherEnrollment) sources() (all []string) {
	for _, kind := range plan.Parts {
		if slices.ContainsFunc(t.ways, func(w []string) bool { return slices.Contains(w, kind) }) {
			all = append(all, kind)
		}
	}
	return all
}

func (t *togetherEnrollment) json() any {
	type keyslot struct {
		Keyslot int      `json:"keyslot"`
		Of      []string `json:"of"`
		Sealed  string   `json:"sealed,omitempty"`
	}
	var all []keyslot
	for _, m := range t.made {
		all = append(all, keyslot{m.Slot, m.Members, m.sealedName()})
	}
	return map[string]any{"uuid": t.want.UUID, "keyslots": all}
}

// print says what was made, and what goes into latchkey.yaml.
func (t *togetherEnrollment) print(w io.Writer) error {
	for _, m := range t.made {
		fmt.Fprintf(w, "enrolled volume %s: keyslot %d opens by %s together\n", t.want.UUID, m.Slot, strings.Join(m.Members, " and "))
	}
	words, sealed := []string{}, t.sealedNames()
	for _, kind := range t.sources() {
		switch {
		case kind == together.TPM && len(sealed) > 0:
			kind = fmt.Sprintf("systemd-tpm2: {sealed: [%s]}", strings.Join(sealed, ", "))
		case kind == together.KeyFile:
			kind = fmt.Sprintf("key-file: {device: LABEL=YOUR-STICK, path: %s}", filepath.Base(t.partFile))
		}
		words = append(words, kind)
	}
	_, err := fmt.Fprintf(w, "for latchkey.yaml:\n    sources: [{need: %d, of: [%s]}, prompt]\n", t.needed(), strings.Join(words, ", "))
	return err
}

// sealedNames are the secrets of the TPM that the plan must name: those of
// keyslots that open without the key server.
func (t *togetherEnrollment) sealedNames() (all []string) {
	for _, m := range t.made {
		if name := m.sealedName(); name != "" && !slices.Contains(m.Members, together.KMS) {
			all = append(all, name)
		}
	}
	return all
}

// openChip opens the TPM, and loads its keys if the KMS is asked.
func (t *togetherEnrollment) openChip(ctx context.Context) (done func(), err error) {
	if t.chip, err = tpm.Open(t.tpmPath); err != nil {
		return nil, advise(err)
	}
	done = func() { t.chip.Close() }
	if t.client == nil {
		return done, nil
	}
	if t.id, err = t.chip.Identify(ctx, tpm.Options{Certificate: true}); err != nil {
		done()
		return nil, advise(err)
	}
	return func() { t.id.Close(); t.chip.Close() }, nil
}

// A madeKeyslot is what a way has become.
type madeKeyslot struct {
	together.Token
}

// sealedName is what the plan calls the secret of the TPM, "" without one.
func (m madeKeyslot) sealedName() string {
	if len(m.Sealed) == 0 {
		return ""
	}
	return cryptenroll.Describe(m.Sealed).Sealed
}
