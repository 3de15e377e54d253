package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/initramfs"
	"latchkey/initramfs/uki"
	"latchkey/internal/cli"
	"latchkey/internal/rootdir"
)

// defaultConfig is where a machine keeps its own configuration.
const defaultConfig = "/etc/latchkey/latchkey.yaml"

type imageUpdate struct {
	config, root, version, init   string
	kernel, writeInitrd, writeUKI string // instead of what the configuration names
	all, remove, ifOutdated       bool
}

func imageUpdateCommand() *cobra.Command {
	var o imageUpdate
	c := &cobra.Command{
		Use:   "update [--kernel-version VERSION | --all]",
		Short: "Rebuild this machine's images where the boot loader looks for them",
		Long: `Update builds what the section image of latchkey.yaml names, for one kernel or
for all that are installed: the initramfs that the boot loader loads, or a
unified kernel image, signed. It is what the hooks of kernel packages call,
so that an upgrade does not put another initramfs in its place.

An image is replaced when the new one is whole and was read back. The last one
that has booted is kept beside it, as NAME.old or NAME~old.efi, which boot
menus list behind the new one; where the file system is full it gives way. If
no image can be built the one of before stays, or is put back where the
distribution's tool has written over it, and the command fails with one line.
An initramfs of the distribution's in the place of ours is kept as
NAME.distribution: the way back.`,
		Example: `  # after latchkey.yaml changed
  latchkey image update --all

  # what a kernel package's hooks call
  latchkey image update --kernel-version 6.12.9-amd64
  latchkey image update --kernel-version 6.12.9-amd64 --remove`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.OutOrStdout()) },
	}

	f := c.Flags()
	f.StringVar(&o.config, "config", defaultConfig, "the configuration, YAML")
	f.StringVar(&o.root, "root", "/", "the root of the system whose images to build; all paths are below it")
	f.StringVar(&o.version, "kernel-version", "", "the kernel (default: the running one)")
	f.StringVar(&o.init, "init", "", "the init to put in (default: latchkey-init or, where a server is asked over TLS, latchkey-init-tls, in the system's /usr/lib/latchkey, beside this command, or in /usr/lib/latchkey)")
	f.StringVar(&o.kernel, "kernel", "", "take this kernel for the unified kernel image")
	f.StringVar(&o.writeInitrd, "write-initrd", "", "write an initramfs, to this file (for kernel-install)")
	f.StringVar(&o.writeUKI, "write-uki", "", "write a unified kernel image, to this file (for kernel-install)")
	f.BoolVar(&o.all, "all", false, "every kernel in /lib/modules")
	f.BoolVar(&o.ifOutdated, "if-outdated", false, "leave images that are what they would be now")
	f.BoolVar(&o.remove, "remove", false, "delete the kernel's unified kernel image, and what was kept beside its image; the initramfs is left to the kernel's package")
	return c
}

func (o *imageUpdate) run(stdout io.Writer) error {
	if o.all && (o.version != "" || o.remove || o.writeInitrd+o.writeUKI != "") {
		return cli.Usagef("--all is mutually exclusive with --kernel-version, --remove and --write-…")
	}
	if o.writeInitrd != "" && o.writeUKI != "" {
		return cli.Usagef("--write-initrd and --write-uki are mutually exclusive")
	}
	versions, err := o.versions()
	if err != nil {
		return err
	}
	config, err := readConfigBelow(o.root, o.path(o.config))
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var all []error
	for _, v := range versions {
		if err == nil {
			all = append(all, o.one(stdout, config, v))
			continue
		}
		all = append(all, about(v, errors.New(o.standing(initramfs.ImageConfig{}, v)))) // nobody knows what to build
	}
	return errors.Join(append([]error{err}, all...)...)
}

// one brings the images of one kernel in line with the configuration.
func (o *imageUpdate) one(stdout io.Writer, config *initramfs.Config, version string) error {
	if o.remove {
		return about(version, o.removeImages(stdout, config.Image, version))
	}
	if o.ifOutdated && !o.outdated(config, version) {
		return nil
	}
	err := o.build(stdout, config.Image, version)
	if err != nil && o.writeInitrd+o.writeUKI == "" {
		err = fmt.Errorf("%w; %s", err, o.standing(config.Image, version))
	}
	return about(version, err)
}

// outdated tells whether the image is not what it would be now.
func (o *imageUpdate) outdated(config *initramfs.Config, version string) bool {
	wanted, err := config.Plan()
	if err != nil {
		return true // building says what is wrong
	}
	c := &checker{update: *o}
	files := config.Image.For(version)
	path := files.Initrd
	if files.UKI != "" {
		path = files.UKI
	}
	p, _, err := c.read(imageAt(o.path(path)))
	p.version = version
	return err != nil || !samePlan(p.file, wanted) || c.outdated(p, config, wanted, files) != ""
}

// standing says what the machine boots with after no image could be made.
func (o *imageUpdate) standing(c initramfs.ImageConfig, version string) string {
	files := c.For(version)
	what := newPlace(o.entry(cmp.Or(files.UKI, files.Initrd))).rescue()
	return cmp.Or(what, "kernel "+version+" has no image of latchkey's: with the distribution's, this machine will not open its disks by itself")
}

func about(version string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("kernel %s: %w", version, err)
}

// path is where a file of the system is.
func (o *imageUpdate) path(name string) string { return rootdir.Path(o.root, name) }

// entry is path of what is written, replaced or removed.
func (o *imageUpdate) entry(name string) string { return rootdir.Entry(o.root, name) }

// versions are the kernels that are meant, oldest name first.
func (o *imageUpdate) versions() ([]string, error) {
	switch {
	case !o.all && o.version != "":
		return []string{o.version}, nil
	case !o.all && below(o.root) != "":
		return nil, cli.Usagef("--root %s: which kernel runs there, nobody knows: give --kernel-version or --all", o.root)
	case !o.all:
		return []string{runningKernel()}, nil
	}

	found, err := filepath.Glob(filepath.Join(o.path("/lib/modules"), "*", "modules.dep"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("there is no kernel in %s", o.path("/lib/modules"))
	}
	var versions []string
	for _, f := range found {
		versions = append(versions, filepath.Base(filepath.Dir(f)))
	}
	slices.Sort(versions)
	return versions, nil
}

// updateLevel is the level of zstd where a person waits for each new kernel:
// decision 0076.
const updateLevel = 9

func (o *imageUpdate) build(stdout io.Writer, c initramfs.ImageConfig, version string) error {
	files := c.For(version)
	build := imageBuild{
		config: o.path(o.config), output: cmp.Or(o.writeInitrd, o.entry(files.Initrd)), init: o.init, system: o.root, level: updateLevel,
		modules:   o.entry("/lib/modules/" + version),
		firmware:  []string{o.path("/lib/firmware/updates"), o.path("/lib/firmware")},
		microcode: []string{o.path("/lib/firmware")},
	}
	switch {
	case o.writeInitrd != "":
		return build.run(stdout, os.Stderr)
	case files.UKI == "" && o.writeUKI == "":
		build.installs = true
		return build.run(stdout, os.Stderr)
	}

	build.output, build.installs = cmp.Or(o.writeUKI, o.entry(files.UKI)), o.writeUKI == ""
	u := imageUKI{build: build, kernel: cmp.Or(o.kernel, o.path(files.Kernel)), osrel: o.path("/etc/os-release"), phases: files.PCRPhases, cmdline: files.Cmdline, sbat: files.SBAT}
	if name, ok := strings.CutPrefix(u.sbat, "@"); ok {
		u.sbat = "@" + o.path(name)
	}
	if len(u.phases) == 0 {
		u.phases = []string{uki.InInitrd}
	}
	if u.cmdline == "" {
		u.cmdline = "@" + o.path("/etc/kernel/cmdline")
	}
	for to, from := range map[*string]string{&u.bootCertificate: files.BootCert, &u.pcrKey: files.PCRKey, &u.signature: files.PCRSignature, &u.dtb: files.DTB} {
		if from != "" {
			*to = o.path(from)
		}
	}
	if u.bootKey = files.BootKey; u.bootKey != "" && !strings.HasPrefix(u.bootKey, "pkcs11:") {
		u.bootKey = o.path(u.bootKey)
	}

	if err := os.MkdirAll(filepath.Dir(build.output), 0o755); err != nil {
		return err
	}
	return u.run(stdout, os.Stderr)
}

// removeImages deletes what is kept for a kernel that is gone. Its initramfs
// is left to the kernel's package.
func (o *imageUpdate) removeImages(stdout io.Writer, c initramfs.ImageConfig, version string) error {
	files := c.For(version)
	if err := newPlace(o.entry(cmp.Or(files.UKI, files.Initrd))).tidy(); err != nil {
		return err
	}
	gone := []string{o.entry(files.Initrd) + otherSuffix, o.entry(files.Initrd) + oursSuffix, newPlace(o.entry(files.Initrd)).old()}
	if files.UKI != "" {
		at := newPlace(o.entry(files.UKI))
		gone = append(at.all(), at.old())
	}
	for _, name := range gone {
		was, err := removed(name)
		if err != nil {
			return err
		}
		if was {
			fmt.Fprintf(stdout, "deleted %s\n", name)
		}
	}
	return nil
}
