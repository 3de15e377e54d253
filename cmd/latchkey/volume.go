package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/disk"
	"latchkey/internal/meminfo"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

func volumeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "volume",
		Short: "Inspect, test, make, change, enroll, open and end LUKS2 volumes",
		Long: `Volume works on LUKS2 images and block devices, mapped or not, and needs
no device-mapper but to open and close. Keys come from files ("-" is standard
input) and are used byte for byte, as cryptsetup does with --key-file: a
newline at the end of the file is part of the key.

What latchkey opens: LUKS2, and LUKS1 where the plan says "luks1: true", with
the cipher aes-xts-plain64, a key of 512 or 256 bits, sectors of 512 to 4096
bytes and a digest of SHA-256 or SHA-512; other ciphers and SHA-1 where the
plan says "accept: cryptsetup" (docs/plan.md). Keyslots may use pbkdf2, argon2i
or argon2id with up to 4 GiB. A keyslot that uses anything else is skipped; the
others open.`,
		Example: `  head -c 32 /dev/urandom > key
  latchkey volume encrypt --key-file key root.ext4 root.luks2
  latchkey volume inspect root.luks2
  latchkey volume test --key-file key root.luks2`,
		Args: cli.Args(cobra.ArbitraryArgs),
		RunE: cli.Group,
	}
	c.AddCommand(volumeInspectCommand(), volumeTestCommand(), volumeFormatCommand(), volumeEncryptCommand(),
		volumeAddKeyCommand(), volumeRemoveKeyCommand(), volumeRepairCommand(), volumeRecoveryCommand(), volumeProveCommand(), volumeEnrollCommand(), volumeEnrollTPMCommand(), volumeEnrollTogetherCommand(),
		volumeBackupCommand(), volumeRestoreCommand(), volumeResealCommand(), volumeRotateCommand(), volumeStatusCommand(), volumeSyncCommand(), volumeWipeCommand(), volumeOpenCommand(), volumeCloseCommand())
	return c
}

// readVolume opens path and reads its header, of LUKS2 or LUKS1, as the
// init does.
func readVolume(path string) (*disk.File, *luks2.Header, error) {
	f, err := disk.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if errors.Is(err, luks2.ErrLUKS1) {
		h, err = luks2.ReadAnyLUKS1(f, f.SizeBytes)
	}
	if err != nil {
		f.Close()
		return nil, nil, volumeExit(path, err)
	}
	return f, h, nil
}

// openToChange opens path to write to it, if it is nobody's member.
func openToChange(path string) (*disk.File, error) {
	f, err := disk.Open(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := notMember(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// changeVolume opens path to change its header, which must be LUKS2.
func changeVolume(path string) (*disk.File, *luks2.Header, error) {
	f, err := openToChange(path)
	if err != nil {
		return nil, nil, err
	}
	h, err := luks2.ReadAny(f, f.SizeBytes)
	if err != nil {
		f.Close()
		return nil, nil, volumeExit(path, err)
	}
	return f, h, nil
}

// attempt is one try of a key, bounded by the memory of this machine.
func attempt(key secret.Bytes, slot int) luks2.Attempt {
	return luks2.Attempt{Passphrase: key, Slot: slot, Memory: luks2.NewMemory(meminfo.Available())}
}

// volumeExit gives an error of reading or unlocking its exit code.
func volumeExit(path string, err error) error {
	switch {
	case errors.Is(err, luks2.ErrLUKS1):
		return &cli.Exit{Code: cli.Rejected, Err: fmt.Errorf("%w: only LUKS2 can be changed (back the header up, then: cryptsetup convert --type luks2 %s)", err, path)}
	case errors.Is(err, luks2.ErrNotLUKS):
		return &cli.Exit{Code: cli.Rejected, Err: withRemedy(path, fmt.Errorf("%w in %s", err, path))}
	case isRejected(err):
		return &cli.Exit{Code: cli.Rejected, Err: withRemedy(path, err)}
	case errors.Is(err, luks2.ErrWrongKey):
		return &cli.Exit{Code: cli.WrongKey, Err: err}
	}
	return err
}

// changeAdvice adds to an error of changing a header what to do about it.
func changeAdvice(path string, err error) error {
	switch {
	case errors.Is(err, luks2.ErrCopyDamaged):
		return fmt.Errorf("%w (first: latchkey volume repair %s)", err, path)
	case errors.Is(err, luks2.ErrChanged):
		return fmt.Errorf("%w (run the command again)", err)
	}
	return err
}

// withRemedy adds to what is found why it is refused, and what to do.
func withRemedy(path string, err error) error {
	if r, ok := errors.AsType[*luks2.Rejected](err); ok && r.Remedy() != "" {
		return fmt.Errorf("%w (%s)", err, remedyFor(path, r))
	}
	return err
}

// remedyFor is the remedy with the volume's name in its commands.
func remedyFor(path string, r *luks2.Rejected) string {
	return strings.ReplaceAll(r.Remedy(), "DEVICE", path)
}

func isRejected(err error) bool {
	_, ok := errors.AsType[*luks2.Rejected](err)
	return ok
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func requireFlags(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if !c.Flags().Changed(name) {
			return cli.Usagef("--%s is required (see %s --help)", name, c.CommandPath())
		}
	}
	return nil
}
