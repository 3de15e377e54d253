package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"latchkey/initramfs"
	"latchkey/initramfs/uki"
	"latchkey/internal/cli"
)

func imageListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "ls IMAGE",
		Short: "List what is in an initramfs or a unified kernel image",
		Long: `Ls lists the files of an image with mode and size, as the kernel unpacks
them: those of the early part (microcode) first. Modules that few machines load
are in blocks, files that end in .lzma: what is in a block stands below it, with
an arrow. It takes the images of other builders as well.`,
		Example: "  latchkey image ls /boot/initrd.img-$(uname -r)",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readImage(args[0])
			if err != nil {
				return err
			}

			sections, initrd, err := unwrap(data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			entries, err := initramfs.List(initrd)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}

			in, err := initramfs.InBlocks(entries)
			if err != nil {
				fmt.Fprintf(c.ErrOrStderr(), "latchkey: warning: %s\n", cli.OneLine(err.Error()))
			}

			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(withBlocks(entries, in))
			}
			for _, s := range sections {
				fmt.Fprintf(c.OutOrStdout(), "section    %9d %s\n", len(s.Data), cli.OneLine(s.Name))
			}
			for _, e := range withBlocks(entries, in) {
				arrow := ""
				if e.In != "" {
					arrow = "-> "
				}
				fmt.Fprintf(c.OutOrStdout(), "%s %9d %s%s\n", e.Mode, e.Size, arrow, cli.OneLine(e.Name))
			}
			for _, name := range initramfs.Unpacked(entries).Doubled() {
				fmt.Fprintf(c.ErrOrStderr(), "latchkey: warning: %s is in the image more than once; the kernel keeps the last one\n", name)
			}

			return nil
		},
	}

	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// withBlocks lists what is in blocks behind each.
func withBlocks(entries []initramfs.Entry, in map[string][]initramfs.Entry) (all []initramfs.Entry) {
	for _, e := range entries {
		all = append(all, e)
		all = append(all, in[e.Name]...)
	}
	return all
}

// maxImageFile is how large an image may be, in bytes: 32-bit sizes are all
// that firmware and archives have.
const maxImageFile = 4 << 30

// readImage reads a regular file, whole: anything else may never end.
func readImage(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	case info.Size() > maxImageFile:
		return nil, fmt.Errorf("%s has %d bytes: an image has at most %d", path, info.Size(), int64(maxImageFile))
	}
	return io.ReadAll(f)
}

// unwrap returns the initramfs of an image: of a unified kernel image its
// section .initrd, with the list of all sections, else all of it.
func unwrap(data []byte) (sections []uki.Section, initrd []byte, err error) {
	if !bytes.HasPrefix(data, []byte("MZ")) {
		return nil, data, nil
	}
	if sections, err = uki.Read(data); err != nil {
		return nil, nil, err
	}

	for _, s := range sections {
		if s.Name == ".initrd" {
			return sections, s.Data, nil
		}
	}
	return nil, nil, errors.New("this unified kernel image has no initramfs")
}
