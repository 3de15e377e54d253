package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	bootreport "latchkey/boot/report"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
)

// syncVolumes are the options of "volume sync".
type syncVolumes struct {
	plan, keyFile, report string
	try, json             bool
}

func volumeSyncCommand() *cobra.Command {
	var o syncVolumes
	c := &cobra.Command{
		Use:   "sync --plan FILE [DEVICE...]",
		Short: "Bring the keyslots of a plan's volumes in line with the plan",
		Long: `Sync looks at each volume of a plan, an image or a latchkey.yaml, after a boot
by that plan:

  removed  keyslots of kms, systemd-tpm2 and clevis where the volume does not
           list that source any more
  ended    announcements (latchkey volume reseal) whose keyslot opened the
           volume in this boot
  added    with --key-file: a keyslot for a key file of the image that has
           none
  said     what a key server, the TPM or a person has to take part in

It removes nothing in a boot that had another plan for the volume or did not
open it, and never the keyslot that opened it, one of a person, or one that
nobody here knows. It asks no server. A power cut leaves every keyslot whole
or gone. One volume's failure stops no other one.

Devices are found by their UUIDs, unless they are named.`,
		Example: `  latchkey volume sync --plan /etc/latchkey.yaml --dry-run || true`,
		Args:    cli.Args(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
			if err := requireFlags(c, "plan"); err != nil {
				return err
			}
			return o.run(c.Context(), c.OutOrStdout(), args)
		},
	}

	f := c.Flags()
	f.StringVar(&o.plan, "plan", "", "an image, or a latchkey.yaml (required)")
	f.StringVar(&o.keyFile, "key-file", "", `a key that the volumes have, "-" for standard input`)
	f.StringVar(&o.report, "report", bootreport.File, "the report of this boot")
	f.BoolVar(&o.try, "dry-run", false, "say what would be done, and change nothing")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

func (o syncVolumes) run(ctx context.Context, w io.Writer, devices []string) error {
	from, err := readPlan(o.plan)
	if err != nil {
		return err
	}
	p, _, err := plan.Parse(from.plan, from.cmdline, from.cmdline)
	if err != nil {
		return fmt.Errorf("%s: %w", o.plan, err)
	}
	boot, err := readReport(o.report)
	if err != nil {
		return err
	}
	var key luks2.NewKey
	if o.keyFile != "" {
		if key.Passphrase, err = readKeyFile(o.keyFile); err != nil {
			return err
		}
		defer key.Passphrase.Wipe()
	}
	given, failed := namedDevices(devices)

	all := []synced{}
	for _, v := range p.Volumes {
		path := devicePath(v.UUID, given)
		if len(devices) > 0 && given[v.UUID] == "" || v.NoFail && absent(path) {
			continue
		}
		one, err := o.volume(ctx, path, &syncing{plan: p, volume: v, boot: boot, try: o.try}, key)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("volume %s: %w", v.Name, changeAdvice(path, err)))
			continue
		}
		all = append(all, one)
	}
	if o.json {
		return errors.Join(printJSON(w, all), failed)
	}
	for _, one := range all {
		one.print(w)
	}
	return failed
}

// namedDevices are devices by the UUIDs of their volumes.
func namedDevices(paths []string) (given map[string]string, failed error) {
	given = map[string]string{}
	for _, path := range paths {
		f, h, err := readVolume(path)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		f.Close()
		given[h.UUID()] = path
	}
	return given, failed
}

// volume brings one volume in line. The steps do not need each other.
func (o syncVolumes) volume(ctx context.Context, path string, s *syncing, key luks2.NewKey) (synced, error) {
	out := synced{UUID: s.volume.UUID, Name: s.volume.Name, Removed: []int{}, Added: []int{}, Left: []string{}}
	f, h, err := changeVolume(path)
	if err != nil {
		return out, err
	}
	defer f.Close()
	if h.UUID() != s.volume.UUID {
		return out, fmt.Errorf("%s is volume %s", path, h.UUID())
	}
	s.disk, s.sizeBytes = f, f.SizeBytes
	if slot, why := s.opened(); why == "" && !o.try {
		name, err := bootName(o.report)
		if err != nil {
			return out, err
		}
		removed, _, err := resealing{f, f.SizeBytes, name}.finish(slot)
		if out.Removed = append(out.Removed, removed...); err != nil {
			return out, err
		}
	}
	return out, errors.Join(s.add(ctx, &out, key), s.drop(&out), s.missing(&out))
}

func (s synced) print(w io.Writer) {
	if len(s.Removed)+len(s.Added)+len(s.Left) == 0 {
		fmt.Fprintf(w, "volume %s is in line with the plan\n", s.Name)
	}
	if len(s.Removed) > 0 {
		fmt.Fprintf(w, "volume %s: removed %s\n", s.Name, slotWords(s.Removed))
	}
	if len(s.Added) > 0 {
		fmt.Fprintf(w, "volume %s: added %s\n", s.Name, slotWords(s.Added))
	}
	for _, text := range s.Left {
		fmt.Fprintf(w, "volume %s: %s\n", s.Name, text)
	}
}

// bootName tells a boot from others by its report, "" if there is none.
func bootName(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), err
}

// readReport reads what this boot has left; nothing if latchkey did not boot
// this machine.
func readReport(file string) (r bootreport.Report, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("reading %s: %w", file, err)
	}
	return r, nil
}
