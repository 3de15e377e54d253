package together

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"latchkey/internal/secret"
)

// passphraseBytes is what a keyslot has.
const passphraseBytes = 32

// maxPart is the longest part, in bytes: that of the longest key file.
const maxPart = 8 << 20

// Passphrase is what the keyslot of the token has: HKDF-SHA256 (RFC 5869) of
// the parts of all members, each with its name and lengths before it, under
// the token's salt. The info names the volume, so that the same parts open no
// other one.
func (t Token) Passphrase(uuid string, parts map[string]secret.Bytes) (secret.Bytes, error) {
	size := 0
	for _, m := range t.Members {
		part := parts[m]
		if part.Len() == 0 || part.Len() > maxPart {
			return secret.Bytes{}, fmt.Errorf("the part of %s has %d bytes, want 1 to %d", m, part.Len(), maxPart)
		}
		size += 2 + len(m) + 4 + part.Len()
	}
	all := secret.Make(size)
	defer all.Wipe()
	in := all.Reveal()[:0]
	for _, m := range t.Members {
		part := parts[m]
		in = append(binary.BigEndian.AppendUint16(in, uint16(len(m))), m...)
		in = append(binary.BigEndian.AppendUint32(in, uint32(part.Len())), part.Reveal()...)
	}
	key, err := hkdf.Key(sha256.New, in, t.Salt, "latchkey together 1\x00"+strings.ToLower(uuid), passphraseBytes)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("deriving a passphrase: %w", err)
	}
	return secret.Own(key), nil
}
