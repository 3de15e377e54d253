package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/initramfs"
	"latchkey/internal/datafile"
	"latchkey/internal/plan"
	"latchkey/unlock/source/cryptenroll"
)

// do is what was agreed to. The configuration is written when all volumes
// are enrolled: from then on the hooks build images of it.
func (o *setup) do(ctx context.Context, m *machine) error {
	key, done, err := o.key(ctx, m)
	if err != nil {
		return err
	}
	defer done()
	if err := os.MkdirAll(filepath.Dir(o.update.entry(statePath)), 0o755); err != nil {
		return err
	}
	state, err := o.begin(m)
	if err != nil {
		return err
	}
	sealed := map[string]string{}
	for _, v := range m.chosen {
		sealed[v.uuid], err = o.enroll(ctx, v, key)
		if err = errors.Join(err, state.of(v.uuid).note(v.path), o.save(*state)); err != nil {
			return o.stopped(*state, err)
		}
	}

	text, _, err := o.config(m, sealed)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(text))
	state.Config = hex.EncodeToString(sum[:])
	if err := errors.Join(o.save(*state), datafile.Write(o.update.entry(defaultConfig), []byte(text))); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "wrote %s\n", o.update.path(defaultConfig))
	if err := o.update.run(o.out); err != nil {
		return fmt.Errorf("%w; then: latchkey image update --all, or latchkey setup --undo", err)
	}
	return o.after(ctx, m)
}

// after says whether the machine would come up, and what to do next.
func (o *setup) after(ctx context.Context, m *machine) error {
	if o.Boot == wayUKI && !m.loader {
		fmt.Fprintf(o.out, "no systemd-boot was found on %s: give the firmware an entry for the image (docs/install.md, \"Boot entries\")\n", m.esp)
	}
	if !o.noCheck {
		c := &checker{update: imageUpdate{root: o.update.root, config: defaultConfig, init: o.update.init}, host: o.host, tpm: o.tpm}
		if err := c.run(ctx, nil); err != nil {
			return err
		}
		if err := c.print(o.out, false); err != nil {
			return err
		}
		if err := c.exit(); c.worst() == bad {
			return err
		}
	}
	fmt.Fprintln(o.out, "next: reboot. Keep the passphrase and, where one was shown, the recovery key; latchkey setup --undo takes all of this back.")
	return nil
}

// enroll adds the keyslots that the sources need, as the commands do.
func (o *setup) enroll(ctx context.Context, v machineVolume, key string) (sealed string, err error) {
	if slices.Contains(o.Sources, plan.SourceSystemd) {
		made, err := enrollTPM{keyFile: key, tpm: o.tpm, pcrs: []int{7}, slot: -1}.run(ctx, v.path, cryptenroll.Request{PCRs: []int{7}})
		if err != nil {
			return "", fmt.Errorf("enrolling volume %s: %w", v.name, err)
		}
		sealed = made.Sealed
		fmt.Fprintf(o.out, "volume %s: keyslot %d is this TPM's: %s\n", v.name, made.slot, made.What)
	}
	if !slices.Contains(o.Sources, plan.SourceKMS) {
		return sealed, nil
	}
	args := []string{v.path, "--kms", o.KMS, "--key-file", key, "--tpm", o.tpm}
	for _, p := range o.Pins {
		args = append(args, "--pin", p)
	}
	if o.escrow {
		args = append(args, "--escrow", "--recipients", o.update.entry(defaultRecipients))
	}
	c := enrollCommand(&enrollOptions{named: true})
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	c.SetOut(o.out)
	c.SetErr(o.err)
	if err := c.ExecuteContext(ctx); err != nil {
		return sealed, fmt.Errorf("enrolling volume %s: %w", v.name, err)
	}
	return sealed, nil
}

// unsealed stands in a draft for a secret that is sealed later.
const unsealed = "0000000000000000000000000000000000000000000000000000000000000000"

// config is latchkey.yaml, which must read as what was meant. Without sealed
// secrets it is a draft, to be shown.
func (o *setup) config(m *machine, sealed map[string]string) (text string, p *plan.Plan, err error) {
	var b strings.Builder
	fmt.Fprintln(&b, "# latchkey.yaml of this machine, by latchkey setup; docs/plan.md describes each field.")
	fmt.Fprintln(&b, "# After a change: latchkey image update --all && latchkey check")
	if slices.Contains(o.Sources, plan.SourceKMS) {
		fmt.Fprintf(&b, "trust:\n  kms: [%s]\nfind:\n  urls: [%q]\n", quoted(o.Pins), o.KMS)
	}
	fmt.Fprintln(&b, "volumes:")
	for _, v := range m.chosen {
		var sources []string
		for _, s := range o.Sources {
			if s == plan.SourceSystemd {
				one := sealed[v.uuid]
				if sealed == nil {
					one = unsealed
				}
				s = fmt.Sprintf("%s: {sealed: [%s]}", s, one)
			}
			sources = append(sources, s)
		}
		fmt.Fprintf(&b, "  - uuid: %s\n    name: %q\n    sources: [%s]\n", v.uuid, v.name, strings.Join(sources, ", "))
		if len(v.Options) > 0 {
			fmt.Fprintf(&b, "    options: [%s]\n", strings.Join(v.Options, ", "))
		}
		if v.NoFail && !v.isRoot {
			fmt.Fprintln(&b, "    nofail: true")
		}
	}
	if m.root != "" {
		fmt.Fprintf(&b, "root: {device: %q}\n", m.root)
	}
	fmt.Fprint(&b, imageLines(o.image(m)))

	config, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(b.String()))
	if err != nil {
		return "", nil, err
	}
	p, err = config.Plan()
	return b.String(), p, err
}

func (o *setup) compile(m *machine, sealed map[string]string) (*plan.Plan, error) {
	_, p, err := o.config(m, sealed)
	return p, err
}

func quoted(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, fmt.Sprintf("%q", w))
	}
	return strings.Join(all, ", ")
}

func imageLines(c initramfs.ImageConfig) string {
	var lines []string
	for _, f := range [][2]string{{"initrd", c.Initrd}, {"uki", c.UKI}, {"kernel", c.Kernel}, {"cmdline", c.Cmdline}, {"boot-key", c.BootKey}, {"boot-cert", c.BootCert}} {
		if f[1] != "" {
			lines = append(lines, fmt.Sprintf("  %s: %q\n", f[0], f[1]))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "image:\n" + strings.Join(lines, "")
}
