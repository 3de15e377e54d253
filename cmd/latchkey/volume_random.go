package main

import (
	"encoding/base64"
	"encoding/hex"
	"unicode"
	"unicode/utf8"

	"latchkey/internal/secret"
)

// isRandom guesses that a key is 256 random bits and not typed by a person:
// 32 to 64 bytes that are not text, or text that is exactly 32 bytes in hex
// or base64, as key generators write them.
func isRandom(key secret.Bytes) bool {
	b := key.Reveal()
	return len(b) >= 32 && len(b) <= 64 && !isText(b) || encodes32(b)
}

func isText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return false
		}
		b = b[n:]
	}
	return true
}

// encodes32 tells whether b is 64 hex digits, or 43 or 44 characters of
// base64, plain or for URLs, that stand for 32 bytes.
func encodes32(b []byte) bool {
	decoders := map[int][]func(dst, src []byte) (int, error){
		64: {hex.Decode},
		43: {base64.RawStdEncoding.Strict().Decode, base64.RawURLEncoding.Strict().Decode},
		44: {base64.StdEncoding.Strict().Decode, base64.URLEncoding.Strict().Decode},
	}
	for _, decode := range decoders[len(b)] {
		raw := secret.Make(48) // base64 writes in threes
		n, err := decode(raw.Reveal(), b)
		raw.Wipe()
		// The base64 decoders skip line ends, so the count tells.
		if err == nil && n == 32 {
			return true
		}
	}
	return false
}
