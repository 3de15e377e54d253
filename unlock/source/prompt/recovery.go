package prompt

import (
	"bytes"

	"latchkey/internal/secret"
)

// Of a recovery key of systemd-cryptenroll(1): 32 bytes in modhex, in eight
// groups of eight letters (src/shared/recovery-key.h).
const (
	recoveryLetters = 64
	recoveryGroup   = 8
)

// modhex are the letters that are at the same place on all keyboards.
var modhex = []byte("cbdefghijklnrtuv")

// recoveryKey writes a recovery key as its keyslot has it, small letters in
// groups with dashes, when it was typed in capitals or without the dashes:
// normalize_recovery_key in src/shared/recovery-key.c. ok is false if what
// was typed is none, or is written so already.
func recoveryKey(line secret.Bytes) (key secret.Bytes, ok bool) {
	const written = recoveryLetters + recoveryLetters/recoveryGroup - 1
	typed := line.Reveal()
	if len(typed) != recoveryLetters && len(typed) != written {
		return secret.Bytes{}, false
	}

	key = secret.Make(written)
	out := key.Reveal()[:0]
	for i, c := range typed {
		if len(typed) == written && i%(recoveryGroup+1) == recoveryGroup {
			if c != '-' {
				key.Wipe()
				return secret.Bytes{}, false
			}
			continue
		}
		c |= 0x20 // small
		if !bytes.Contains(modhex, []byte{c}) {
			key.Wipe()
			return secret.Bytes{}, false
		}
		if n := len(out); n%(recoveryGroup+1) == recoveryGroup {
			out = append(out, '-')
		}
		out = append(out, c)
	}
	if key.Equal(line) {
		key.Wipe()
		return secret.Bytes{}, false
	}
	return key, true
}
