package kairos

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// text64 is bytes that travel as base64 (RFC 4648, section 4), in its one
// form: encoding/json passes line breaks and stray bits over.
type text64 []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *text64) UnmarshalText(text []byte) error {
	if bytes.ContainsAny(text, "\r\n") {
		return errors.New("base64 with a line break in it")
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	*t = b
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (t text64) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, t), nil }
