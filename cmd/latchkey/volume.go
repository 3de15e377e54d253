package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

func volumeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "volume",
		Short: "Inspect, test, make, change and enroll LUKS2 volumes",
		Long: `Volume works on LUKS2 images and block devices, mapped or not, and needs
no device-mapper. Keys come from files only ("-" is standard input) and are
used byte for byte, as cryptsetup's --key-file does.`,
		Example: `  head -c 32 /dev/urandom > key
  latchkey volume encrypt --key-file key root.ext4 root.luks2
  latchkey volume inspect root.luks2
  latchkey volume test --key-file key root.luks2`,
		Args: cli.Args(cobra.ArbitraryArgs),
		RunE: cli.Group,
	}
	c.AddCommand(volumeInspectCommand(), volumeTestCommand(), volumeFormatCommand(), volumeEncryptCommand(),
		volumeAddKeyCommand(), volumeRemoveKeyCommand(), volumeEnrollCommand())
	return c
}

// A volumeFile is an image or a block device, locked against cryptsetup and
// udev if it is to be written.
type volumeFile struct {
	*os.File
	sizeBytes int64
}

func openVolume(path string, flags int) (volumeFile, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return volumeFile{}, err
	}
	v := volumeFile{File: f}
	if err := v.check(flags); err != nil {
		f.Close()
		return volumeFile{}, fmt.Errorf("opening %s: %w", path, err)
	}
	return v, nil
}

func (v *volumeFile) check(flags int) error {
	st, err := v.Stat()
	if err != nil {
		return err
	}

	if device := st.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice; !device && !st.Mode().IsRegular() {
		return errors.New("it is neither a file nor a block device")
	}
	if v.sizeBytes, err = v.Seek(0, io.SeekEnd); err != nil {
		return err
	}

	if flags&os.O_RDWR == 0 {
		return nil
	}

	// flock is what cryptsetup takes on a file (lib/utils_device_locking.c)
	// and what systemd-udevd respects on a block device.
	if err := unix.Flock(int(v.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another program is changing it: %w", err)
	}
	return nil
}

// readVolume opens path and reads its header.
func readVolume(path string, flags int) (volumeFile, *luks2.Header, error) {
	f, err := openVolume(path, flags)
	if err != nil {
		return volumeFile{}, nil, err
	}
	h, err := luks2.Read(f, f.sizeBytes)
	if err != nil {
		f.Close()
		return volumeFile{}, nil, volumeExit(err)
	}
	return f, h, nil
}

// volumeExit gives an error of reading or unlocking its exit code.
func volumeExit(err error) error {
	if _, ok := errors.AsType[*luks2.Rejected](err); ok {
		return &cli.Exit{Code: cli.Rejected, Err: err}
	}
	if errors.Is(err, luks2.ErrWrongKey) {
		return &cli.Exit{Code: cli.WrongKey, Err: err}
	}
	return err
}

// maxKeyFile is cryptsetup's limit (cryptsetup --help: maximum keyfile
// size 8192kB), in bytes.
const maxKeyFile = 8 << 20

func readKeyFile(path string) (secret.Bytes, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return secret.Bytes{}, err
		}
		defer f.Close()
	}

	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return secret.Bytes{}, fmt.Errorf("reading key file %s: %w", path, err)
	case len(b) == 0:
		return secret.Bytes{}, fmt.Errorf("key file %s is empty", path)
	case len(b) > maxKeyFile:
		return secret.Bytes{}, fmt.Errorf("key file %s is larger than %d bytes", path, maxKeyFile)
	}

	return secret.Own(b), nil
}

// newKey reads a key that will be put into a keyslot.
func newKey(path, kdf string, slot int) (luks2.NewKey, error) {
	if kdf != "auto" && kdf != "pbkdf2" && kdf != "argon2id" {
		return luks2.NewKey{}, cli.Usagef("--kdf %q: it is auto, pbkdf2 or argon2id", kdf)
	}
	b, err := readKeyFile(path)
	if err != nil {
		return luks2.NewKey{}, err
	}
	return luks2.NewKey{Passphrase: b, Slot: slot, Random: kdf == "pbkdf2" || kdf == "auto" && isRandom(b)}, nil
}

const kdfUsage = `pbkdf2 (1,000 iterations; only for 256 random bits), argon2id (256 MiB), or auto: pbkdf2 for 32 to 64 bytes that are not text, and for 32 bytes in hex or base64`

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
