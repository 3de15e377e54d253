package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/kms/operator/loader"
	"latchkey/kms/server/release"
)

// bootFlags say what is booted where there is no unified kernel image.
type bootFlags struct {
	kernel, initrd, line string
	loaders, read        []string
}

func (f *bootFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.kernel, "kernel", "", "kernel that a boot loader starts, with --initrd and --cmdline")
	c.Flags().StringVar(&f.initrd, "initrd", "", "its initrd, one file")
	c.Flags().StringVar(&f.line, "cmdline", "", "its command line, as /proc/cmdline shows it")
	c.Flags().StringArrayVar(&f.loaders, "loader", nil, "boot loader: systemd-boot, or shim and then GRUB; repeatable")
	c.Flags().StringArrayVar(&f.read, "read", nil, "what else GRUB reads: a file, or a folder with all that is in it; repeatable")
}

// given tells whether one of them was.
func (f *bootFlags) given() bool {
	return f.kernel+f.initrd+f.line != "" || len(f.loaders)+len(f.read) > 0
}

// chain reads the files, and computes what is to be added.
func (f *bootFlags) chain(n *release.New) (err error) {
	if f.kernel == "" || f.initrd == "" || f.line == "" {
		return cli.Usagef("a boot without a unified image needs --kernel, --initrd and --cmdline")
	}
	b := loader.Boot{CommandLine: f.line}
	if b.Kernel, err = bootFile(f.kernel); err != nil {
		return err
	}
	if b.Initrd, err = bootFile(f.initrd); err != nil {
		return err
	}
	for _, path := range f.loaders {
		file, err := bootFile(path)
		if err != nil {
			return err
		}
		b.Loaders = append(b.Loaders, file)
	}
	for _, path := range f.read {
		files, err := bootFiles(path)
		if err != nil {
			return err
		}
		b.Read = append(b.Read, files...)
	}
	if n.Chain, err = b.Chain(); err != nil {
		return fmt.Errorf("computing what is measured: %w", err)
	}
	if n.What == "" {
		n.What = fmt.Sprintf("kernel %s, %q", filepath.Base(f.kernel), n.Chain.CommandLine)
		n.What = n.What[:min(len(n.What), 500)]
	}
	return nil
}

func bootFile(path string) (loader.File, error) {
	data, err := datafile.Read(path, maxImage)
	return loader.File{Name: path, Data: data}, err
}

// bootFiles reads a file, or those of a folder, however deep.
func bootFiles(path string) (files []loader.File, err error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		one, err := bootFile(path)
		return []loader.File{one}, err
	}
	err = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		one, err := bootFile(path)
		files = append(files, one)
		return err
	})
	return files, err
}
