package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// maxKeyFile is cryptsetup's limit (cryptsetup --help: maximum keyfile
// size 8192kB), in bytes.
const maxKeyFile = 8 << 20

// readKeyFile reads a key as cryptsetup's --key-file does: all of it.
func readKeyFile(path string) (secret.Bytes, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = datafile.OpenRead(path); err != nil {
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

// wrongKey adds to an error of unlocking what a person cannot see in the
// key file: editors and echo end it with a newline.
func wrongKey(keyFile string, key secret.Bytes, err error) error {
	if errors.Is(err, luks2.ErrWrongKey) && endsInNewline(key) {
		return fmt.Errorf("%w; key file %s ends in a newline, which counts as part of the key: write it without (printf %%s)", err, keyFile)
	}
	return err
}

func endsInNewline(key secret.Bytes) bool { return bytes.HasSuffix(key.Reveal(), []byte("\n")) }

// newKey reads a key that will be put into a keyslot. It warns of one that
// nobody can type.
func newKey(warn io.Writer, path, kdf string, slot int) (luks2.NewKey, error) {
	if kdf != "auto" && kdf != "pbkdf2" && kdf != "argon2id" {
		return luks2.NewKey{}, cli.Usagef("--kdf %q: must be auto, pbkdf2 or argon2id", kdf)
	}
	b, err := readKeyFile(path)
	if err != nil {
		return luks2.NewKey{}, err
	}

	random := isRandom(b)
	if endsInNewline(b) && !random {
		fmt.Fprintf(warn, "warning: key file %s ends in a newline, which becomes part of the key and cannot be typed at a prompt\n", path)
	}
	return luks2.NewKey{Passphrase: b, Slot: slot, Random: kdf == "pbkdf2" || kdf == "auto" && random}, nil
}

const kdfUsage = `pbkdf2 (1,000 iterations; only for 256 random bits), argon2id (256 MiB), or auto: pbkdf2 for 32 to 64 bytes that are not text, and for 32 bytes in hex or base64`
