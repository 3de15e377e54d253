package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
)

// An input is a file that an image is made of, or a folder of such files.
type input struct {
	what, path string
	// of tells which files of a folder are meant, by their names; nil if the
	// path is a file's.
	of func(name string) bool
}

// checkOutput refuses to write over what the image is made of.
func checkOutput(output string, inputs []input) error {
	out, err := os.Stat(output)
	if err != nil {
		return nil // there is none, or writing it will say why not
	}
	real, err := filepath.EvalSymlinks(output)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return err
	}
	for _, in := range inputs {
		if in.path == "" {
			continue
		}
		if info, err := os.Stat(in.path); err == nil && os.SameFile(info, out) {
			return cli.Usagef("--output and %s are the same file, %s", in.what, in.path)
		}
		if in.of != nil && in.of(filepath.Base(real)) && isBelow(in.path, real) {
			return cli.Usagef("--output %s is one of the files of %s %s", output, in.what, in.path)
		}
	}
	return nil
}

// isBelow tells whether a file is somewhere in a folder.
func isBelow(folder, file string) bool {
	for _, step := range []func(string) (string, error){filepath.EvalSymlinks, filepath.Abs} {
		var err error
		if folder, err = step(folder); err != nil {
			return false
		}
	}
	return strings.HasPrefix(file, strings.TrimSuffix(folder, "/")+"/")
}

// inputs are what an initramfs is built of.
func (o *imageBuild) inputs(c *initramfs.Config, p *plan.Plan) []input {
	all := []input{
		{"--config", o.config, nil},
		{"--talos", o.talos, nil},
		{"--init", o.init, nil},
		{"--modules", o.modules, isModule}, // some distributions have images in the same folder
		{"--kairos", o.kairos, isCloudConfig},
	}
	for _, list := range [][]string{o.firmware, o.microcode} {
		for _, folder := range list {
			all = append(all, input{"the firmware in", folder, func(string) bool { return true }})
		}
	}
	for _, name := range c.Files(p) {
		all = append(all, input{"a file that the configuration names", name, nil})
	}
	return all
}

func isModule(name string) bool {
	return strings.HasPrefix(name, "modules.") || strings.Contains(name, ".ko")
}

func isCloudConfig(name string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name))
}

// inputs are what a unified kernel image is made of, but for those of its
// initramfs.
func (o *imageUKI) inputs() []input {
	all := []input{
		{"--kernel", o.kernel, nil},
		{"--initrd", o.initrd, nil},
		{"--stub", o.stub, nil},
		{"--config", o.build.config, nil},
		{"--os-release", o.osrel, nil},
		{"--ucode", o.ucode, nil},
		{"--dtb", o.dtb, nil},
		{"--pcr-key", o.pcrKey, nil},
		{"--pcr-signature", o.signature, nil},
		{"--boot-key", o.bootKey, nil},
		{"--boot-cert", o.bootCertificate, nil},
	}
	for flag, value := range map[string]string{"--cmdline": o.cmdline, "--sbat": o.sbat} {
		if name, ok := strings.CutPrefix(value, "@"); ok {
			all = append(all, input{flag, name, nil})
		}
	}
	return all
}

// warnReadable says that an image has keys in it and can be read by others:
// FAT has no modes but those that it was mounted with.
func warnReadable(w io.Writer, path string) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o044 == 0 {
		return
	}
	source, err := readPlan(path)
	if err != nil {
		return
	}
	p, err := plan.Decode(source.plan)
	if err == nil && slices.ContainsFunc(p.KeyFiles, func(f plan.KeyFile) bool { return f.Device == "" }) {
		fmt.Fprintf(w, "warning: %s has keys in it and can be read by others (mode %04o): mount that file system with umask=0077\n", path, info.Mode().Perm())
	}
}
