package talos

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"latchkey/internal/secret"
)

// SaltFile is in the file system STATE: constants.EncryptionSaltFilename.
const SaltFile = "encryption-salt.yaml"

// SaltBytes is the length of the salt: constants.DiskEncryptionSaltSize.
const SaltBytes = 32

// CodeSalt: the salt that a volume is locked by cannot be read: final.
const CodeSalt = "talos-salt"

// maxSaltFile bounds the file, in bytes: it has about 300.
const maxSaltFile = 4 << 10

// ParseSalt reads the file: the key diskSalt with a list of bytes, as
// gopkg.in/yaml writes a []byte, a line each.
func ParseSalt(file secret.Bytes) (secret.Bytes, error) {
	if file.Len() > maxSaltFile {
		return secret.Bytes{}, fmt.Errorf("it has %d bytes, the limit is %d", file.Len(), maxSaltFile)
	}
	head, rest, _ := bytes.Cut(bytes.TrimSpace(file.Reveal()), []byte("\n"))
	if string(bytes.TrimSpace(head)) != "diskSalt:" {
		return secret.Bytes{}, errors.New("it does not begin with the line diskSalt: alone")
	}
	salt := secret.Make(SaltBytes)
	n := 0
	for line := range bytes.SplitSeq(rest, []byte("\n")) {
		digits, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("- "))
		b, err := strconv.ParseUint(string(digits), 10, 8)
		if !ok || err != nil || n == SaltBytes {
			salt.Wipe()
			return secret.Bytes{}, fmt.Errorf("line %d is no byte of a salt of %d", n+2, SaltBytes)
		}
		salt.Reveal()[n] = byte(b)
		n++
	}
	if n != SaltBytes {
		salt.Wipe()
		return secret.Bytes{}, fmt.Errorf("it has %d bytes of salt, want %d", n, SaltBytes)
	}
	return salt, nil
}
