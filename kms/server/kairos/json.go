package kairos

import (
	"errors"
	"unicode/utf8"

	"latchkey/internal/secret"
)

// quoted appends s to b as a JSON string, without a copy that nobody wipes.
func quoted(b []byte, s secret.Bytes) ([]byte, error) {
	if !utf8.Valid(s.Reveal()) {
		return b, errors.New("encoding a passphrase: it is no text, which the legacy exchange needs")
	}
	b = append(b, '"')
	for _, c := range s.Reveal() {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}

	return append(b, '"'), nil
}
