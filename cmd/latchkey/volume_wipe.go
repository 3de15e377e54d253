package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

func volumeWipeCommand() *cobra.Command {
	var uuid string
	var asJSON bool
	c := &cobra.Command{
		Use:   "wipe IMAGE-OR-DEVICE",
		Short: "Destroy all keyslots of a volume, and with them its data",
		Long: `Wipe overwrites all keyslots and removes them and all tokens from the header,
as cryptsetup erase does. Nothing opens the volume then but a backup of its
header with a key of that time. It asks for the volume's UUID; --uuid answers
beforehand. A volume that is open stays readable until it is closed. After a
power cut run it again. On flash old keyslots may survive out of reach.

A volume that latchkey does not open, LUKS1 or one with another cipher or an
unfinished reencryption, ends in the same way; a LUKS2 header then still lists
its keyslots, which are noise.

What the KMS holds for the volume is of no use then, and stays there: on the
key server, latchkey-kms volume delete --now UUID destroys it.`,
		Example: `  latchkey volume wipe --uuid "$(cryptsetup luksUUID root.luks2)" root.luks2`,
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			f, h, err := changeVolume(args[0])
			if isRejected(err) {
				return wipeStranger(c, args[0], uuid, asJSON, err)
			}
			if err != nil {
				return err
			}
			defer f.Close()
			if err := confirmUUID(c, args[0], h.UUID(), fmt.Sprintf("%q; all of its keyslots %d", h.Label(), slotIDs(h)), uuid); err != nil {
				return err
			}
			marked := len(unlock.Marks(h)) > 0
			after, err := h.Erase(f)
			if err != nil {
				return changeAdvice(args[0], err)
			}
			if left := slotIDs(after); len(left) > 0 {
				return fmt.Errorf("keyslots %d of volume %s are still there", left, h.UUID())
			}

			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"uuid": h.UUID(), "erased": slotIDs(h)})
			}
			fmt.Fprintf(c.OutOrStdout(), "destroyed keyslots %d of volume %s: nothing but a backup of its header opens it\n", slotIDs(h), h.UUID())
			if marked {
				fmt.Fprintf(c.OutOrStdout(), "the KMS still holds what opened it; to destroy that too, on the key server: latchkey-kms volume delete --now %s\n", h.UUID())
			}
			return nil
		},
	}

	c.Flags().StringVar(&uuid, "uuid", "", "the volume's UUID, so that nothing is asked")
	c.Flags().BoolVar(&asJSON, "json", false, "print the volume and the erased keyslots as JSON")
	return c
}

// errNotConfirmed is an operator's no.
var errNotConfirmed = errors.New("not confirmed: nothing was changed")

// confirmUUID has the operator name the volume, by the flag or at the
// terminal.
func confirmUUID(c *cobra.Command, path, is, what, uuid string) error {
	if uuid == "" {
		in, ok := c.InOrStdin().(*os.File)
		if !ok || !isTerminal(in) {
			return cli.Usagef("--uuid is required where nobody can be asked: the UUID that latchkey volume inspect %s prints", path)
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s is volume %s %s will be destroyed, and its data with them.\ntype its UUID to go on: ", path, is, what)
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the answer: %w", err)
		}
		uuid = strings.TrimSpace(line)
	}
	if !strings.EqualFold(uuid, is) {
		return fmt.Errorf("%s is volume %s, not %q: %w", path, is, uuid, errNotConfirmed)
	}
	return nil
}

// wipeStranger ends a volume that latchkey does not open, for the reason that
// is given.
func wipeStranger(c *cobra.Command, path, uuid string, asJSON bool, why error) error {
	f, err := disk.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := luks2.Recognize(f, f.SizeBytes)
	switch {
	case err != nil:
		return err
	case s == nil:
		return why
	}
	if err := confirmUUID(c, path, s.UUID, fmt.Sprintf("(%s); all of its keyslots", s.Type), uuid); err != nil {
		return err
	}
	if err := s.Erase(f); err != nil {
		return changeAdvice(path, err)
	}

	if asJSON {
		return printJSON(c.OutOrStdout(), map[string]any{"uuid": s.UUID, "type": s.Type})
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "destroyed all keyslots of volume %s (%s): nothing but a backup of its header opens it\n", s.UUID, s.Type)
	return err
}

// isTerminal tells whether somebody can be asked.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
