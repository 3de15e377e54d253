// Package secret holds key bytes that never print and can be wiped.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
)

// ErrMarshal is returned when somebody tries to encode a secret as text.
var ErrMarshal = errors.New("secret bytes cannot be marshaled")

// Bytes are secret bytes: a passphrase, a key, a shared secret. Copies of
// a Bytes share one array, so Wipe on any of them empties all. The zero
// value is an empty secret.
type Bytes struct{ b []byte }

// Own wraps b without copying it: the caller must not keep b.
func Own(b []byte) Bytes { return Bytes{b} }

// Make returns n zero bytes, to be filled through Reveal.
func Make(n int) Bytes { return Bytes{make([]byte, n)} }

// Random returns n bytes of crypto/rand.
func Random(n int) Bytes {
	b := Make(n)
	rand.Read(b.b) // never fails: crypto/rand, Go 1.24
	return b
}

// Passphrase makes 256 random bits as 43 letters, so that they can be typed
// if all else fails.
func Passphrase() Bytes {
	raw := Random(32)
	defer raw.Wipe()
	text := Make(base64.RawURLEncoding.EncodedLen(raw.Len()))
	base64.RawURLEncoding.Encode(text.Reveal(), raw.Reveal())
	return text
}

// Reveal returns the bytes themselves, not a copy.
func (s Bytes) Reveal() []byte { return s.b }

// Len is the number of bytes.
func (s Bytes) Len() int { return len(s.b) }

// Clone returns a copy with its own array.
func (s Bytes) Clone() Bytes { return Bytes{append([]byte(nil), s.b...)} }

// Equal compares in time that depends on the lengths only.
func (s Bytes) Equal(o Bytes) bool { return subtle.ConstantTimeCompare(s.b, o.b) == 1 }

// Wipe overwrites the bytes with zeros.
func (s Bytes) Wipe() { clear(s.b) }

// String tells the length only.
func (s Bytes) String() string { return fmt.Sprintf("secret(%d bytes)", len(s.b)) }

// GoString is String: %#v must not print the bytes either.
func (s Bytes) GoString() string { return s.String() }

// Format prints String for every verb.
func (s Bytes) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue keeps the bytes out of log/slog.
func (s Bytes) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText always fails: JSON and YAML encoders call it.
func (s Bytes) MarshalText() ([]byte, error) { return nil, ErrMarshal }
