package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"latchkey/internal/cli"
	"latchkey/internal/mapping"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/dm/control"
	"latchkey/unlock/tpm"
)

// openVolume are the options of "volume open".
type openVolume struct {
	keyFile, plan, source, kms, tpm string
	readOnly, discard               bool

	console func() (io.ReadWriteCloser, error) // nil: the terminal, if there is one
}

func volumeOpenCommand() *cobra.Command {
	var o openVolume
	c := &cobra.Command{
		Use:   "open DEVICE [NAME]",
		Short: "Open a volume on a running machine, as a boot does",
		Long: `Open maps a volume to /dev/mapper/NAME. What opens it:

  --key-file FILE  the key in a file, "-" for standard input
  --plan FILE      the sources that an image, or a latchkey.yaml, lists for
                   the volume, in that order, with its name and options;
                   --source takes one of them only
  neither          a passphrase or recovery key, asked for at the terminal

A source opens here what it opens in a boot, by the same rules, and what it
refuses has the same codes. A running machine has measured more than one that
boots: the key server gives nothing to a boot that has opened its volumes
(pcr15-used), and systemd-tpm2 opens what is bound to PCRs that have not
changed since. A key file of the plan that lies on a stick must be mounted and
named with --key-file.`,
		Example: `  latchkey volume open --key-file key /dev/vdb1 data
  latchkey volume open --plan /etc/latchkey.yaml /dev/vdb1
  latchkey volume open --plan /etc/latchkey.yaml --source clevis /dev/vdb1`,
		Args: cli.Args(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			name := ""
			if len(args) > 1 {
				name = args[1]
			}
			if err := mappable(args[0]); err != nil {
				return err
			}
			return o.run(ctx, c, args[0], name, dm.Map)
		},
	}

	f := c.Flags()
	f.StringVar(&o.keyFile, "key-file", "", `file that holds the key, "-" for standard input`)
	f.StringVar(&o.plan, "plan", "", "an image, or a latchkey.yaml, whose sources are asked")
	f.StringVar(&o.source, "source", "", "the only source of the plan to ask")
	f.StringVar(&o.kms, "kms", "", "the KMS, as http://HOST[:PORT] (default: find.urls of the plan)")
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, tpmUsage)
	f.BoolVar(&o.readOnly, "read-only", false, "map it read-only")
	f.BoolVar(&o.discard, "discard", false, "pass discards to the device")
	return c
}

func (o openVolume) run(ctx context.Context, c *cobra.Command, path, name string, mapper unlock.Mapper) error {
	switch {
	case o.keyFile != "" && (o.plan != "" || o.source != ""):
		return cli.Usagef("--key-file opens it alone: leave out --plan and --source")
	case o.plan == "" && (o.source != "" || o.kms != ""):
		return cli.Usagef("--source and --kms need --plan, which says what may open the volume")
	case o.plan == "" && name == "":
		return cli.Usagef("NAME is missing: the mapping's, under /dev/mapper")
	}
	f, h, err := readVolume(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := notMember(f); err != nil {
		return err
	}

	if h.Detached() {
		return fmt.Errorf("%s has the header alone, and the payload of volume %s is elsewhere: cryptsetup open --header %s opens it", path, h.UUID(), path)
	}
	one := &oneVolume{file: f, mapper: mapper, volume: unlock.Volume{
		Name: name, Device: path, Header: h, Options: dm.Options{ReadOnly: o.readOnly, AllowDiscards: o.discard},
	}}
	if err := o.choose(c, one); err != nil {
		return err
	}
	if err := mapping.CheckName(one.volume.Name); err != nil {
		return cli.Usagef("%w", err)
	}
	if err := one.open(ctx); err != nil {
		return volumeExit(path, err)
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "keyslot %d of volume %s opens: /dev/mapper/%s (%s)\n", one.opened.Slot, h.UUID(), one.volume.Name, one.by)
	return err
}

func volumeCloseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "close NAME",
		Short:   "Close a volume that is open as /dev/mapper/NAME",
		Long:    "Close removes the mapping of a LUKS volume, and with it the key in the kernel. A\nmapping that is in use, or that is none of LUKS, is refused.",
		Example: "  latchkey volume close data",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			name := strings.TrimPrefix(args[0], control.NodeDir)
			if err := closeMapping("/sys/block", name, control.Remove); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "closed /dev/mapper/%s\n", name)
			return err
		},
	}
	return c
}

// closeMapping removes a mapping of LUKS.
func closeMapping(sys, name string, remove func(string) error) error {
	if err := mapping.CheckName(name); err != nil {
		return cli.Usagef("%w", err)
	}
	names, err := filepath.Glob(sys + "/dm-*/dm/name")
	if err != nil {
		return err
	}
	for _, file := range names {
		have, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(have)) != name {
			continue // gone meanwhile, or another one
		}
		uuid, err := os.ReadFile(filepath.Join(filepath.Dir(file), "uuid"))
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(uuid), "CRYPT-LUKS") {
			return fmt.Errorf("/dev/mapper/%s is no volume of LUKS: it is left alone", name)
		}
		err = remove(name)
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("%w: it is in use: unmount it first (findmnt /dev/mapper/%s)", err, name)
		}
		return err
	}
	return fmt.Errorf("/dev/mapper/%s: %w", name, control.ErrNotFound)
}

// mappable refuses an image file before any key is asked for.
func mappable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() {
		err = fmt.Errorf("%s is a file, and only block devices are mapped: losetup --find --show %s makes one of it", path, path)
	}
	return err
}
