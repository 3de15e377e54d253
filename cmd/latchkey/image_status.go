package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
)

// A standingImage is what one kernel of this machine boots with.
type standingImage struct {
	Kernel string   `json:"kernel"`
	Path   string   `json:"path"`
	Holds  string   `json:"holds"`            // "latchkey", "another" or "nothing"
	Old    string   `json:"old,omitempty"`    // the last one that booted before it
	Others []string `json:"others,omitempty"` // initramfs that are not latchkey's
}

func imageStatusCommand() *cobra.Command {
	var o imageUpdate
	var asJSON, removal bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what each kernel of this machine boots with, and what else it could",
		Long: `Status lists, for each kernel in /lib/modules, the image where the boot loader
looks for it, the image that was kept from before, and the initramfs of the
distribution's that are there: the other ways to boot.

With --removal it says what is lost when latchkey is removed: kernels that boot
by its images alone, and volumes that no person has a key of. It prints nothing
where nothing is; the packages ask so before they are removed.`,
		Example: `  latchkey image status
  latchkey image status --removal`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			o.all = true
			config, err := readConfigBelow(o.root, o.path(o.config))
			if removal && errors.Is(err, fs.ErrNotExist) {
				return o.printUnconfigured(c.OutOrStdout())
			}
			if err != nil {
				return err
			}
			all, err := o.status(config.Image)
			if err != nil {
				return err
			}
			switch {
			case removal:
				return o.printRemoval(c.OutOrStdout(), config, all)
			case asJSON:
				return printJSON(c.OutOrStdout(), all)
			}
			return printImages(c.OutOrStdout(), all)
		},
	}

	f := c.Flags()
	f.StringVar(&o.config, "config", defaultConfig, "the configuration, YAML")
	f.StringVar(&o.root, "root", "/", "the root of the system; all paths are below it")
	f.BoolVar(&removal, "removal", false, "say what is lost without latchkey")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// distributions are where the tools of distributions write their initramfs.
var distributions = []string{"/boot/initrd.img-{version}", "/boot/initramfs-{version}.img", "/boot/initrd-{version}", "/boot/initramfs-linux.img"}

func (o *imageUpdate) status(c initramfs.ImageConfig) (all []standingImage, err error) {
	versions, err := o.versions()
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		files := c.For(v)
		s := standingImage{Kernel: v, Path: o.entry(files.Initrd)}
		if files.UKI != "" {
			s.Path = imageAt(o.entry(files.UKI))
		}
		if old := newPlace(o.entry(cmp.Or(files.UKI, files.Initrd))).old(); isOurs(old) {
			s.Old = old
		}
		others := []string{o.entry(files.Initrd) + otherSuffix}
		for _, name := range distributions {
			others = append(others, o.path(strings.ReplaceAll(name, "{version}", v)))
		}
		for _, name := range others {
			if holds(name) == "another" && name != s.Path && !slices.Contains(s.Others, name) {
				s.Others = append(s.Others, name)
			}
		}
		s.Holds = holds(s.Path)
		all = append(all, s)
	}
	return all, nil
}

func holds(path string) string {
	switch _, err := readPlan(path); {
	case err == nil:
		return "latchkey"
	case errors.Is(err, fs.ErrNotExist):
		return "nothing"
	}
	return "another"
}

func printImages(w io.Writer, all []standingImage) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KERNEL\tIMAGE\tIT HOLDS\tBEFORE IT\tOTHER WAYS")
	or := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	for _, s := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Kernel, s.Path, s.Holds, or(s.Old), or(strings.Join(s.Others, " ")))
	}
	return t.Flush()
}

// printAlone names a kernel that boots by latchkey's image alone.
func (o *imageUpdate) printAlone(w io.Writer, s standingImage) {
	if s.Holds == "latchkey" && len(s.Others) == 0 {
		fmt.Fprintf(w, "kernel %s boots by latchkey's %s alone: before a reboot make the distribution's (update-initramfs -c -k %s, dracut --force, mkinitcpio -P)\n", s.Kernel, s.Path, s.Kernel)
	}
}

// printRemoval names what has no way but latchkey.
func (o *imageUpdate) printRemoval(w io.Writer, config *initramfs.Config, all []standingImage) error {
	for _, s := range all {
		o.printAlone(w, s)
	}
	p, err := config.Plan()
	if err != nil {
		return err
	}
	o.printLocked(w, p)
	return nil
}

// printUnconfigured is printRemoval where the configuration is gone: images of
// ours may be where distributions have theirs.
func (o *imageUpdate) printUnconfigured(w io.Writer) error {
	all, err := o.status(initramfs.ImageConfig{})
	if err != nil {
		return nil //nolint:nilerr // no kernel: nothing of this machine's boots by latchkey
	}
	for _, s := range all {
		for _, name := range distributions {
			s.Path = o.path(strings.ReplaceAll(name, "{version}", s.Kernel))
			image, err := readPlan(s.Path)
			if err != nil {
				continue
			}
			s.Holds = "latchkey"
			o.printAlone(w, s)
			if p, err := plan.Decode(image.plan); err == nil {
				o.printLocked(w, p)
			}
		}
	}
	return nil
}

// printLocked names volumes that no person has a key of.
func (o *imageUpdate) printLocked(w io.Writer, p *plan.Plan) {
	for _, v := range volumesHere(o.path(byUUID), p) {
		typed := func(k standingSlot) bool {
			return !k.skipped() && (k.owner == ownerNone || k.owner == ownerRecovery)
		}
		if !slices.ContainsFunc(slotsOfHeader(v.header), typed) {
			fmt.Fprintf(w, "volume %s (%s) has no keyslot for a passphrase: without latchkey nobody opens it (latchkey volume recovery-key, latchkey volume add-key)\n", v.Name, v.UUID)
		}
	}
}
