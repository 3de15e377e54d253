package strictyaml

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// encodings are the marks that other editors begin a file with. That of
// UTF-32 begins as UTF-16's does.
var encodings = []struct{ mark, name string }{
	{"\xff\xfe\x00\x00", "UTF-32"},
	{"\x00\x00\xfe\xff", "UTF-32"},
	{"\xff\xfe", "UTF-16"},
	{"\xfe\xff", "UTF-16"},
}

// IsText tells why something is no text that Decode reads, nil if it is:
// UTF-8 without a NUL. The library reads UTF-16, too, and other programs that
// read the same file do not.
func IsText(file string, text []byte) error {
	for _, e := range encodings {
		if bytes.HasPrefix(text, []byte(e.mark)) {
			return fmt.Errorf("%s: it is %s: save it as UTF-8", file, e.name)
		}
	}
	line := 1
	for rest := text; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == 0:
			return fmt.Errorf("%s:%d: there is a NUL byte: if it is UTF-16, save it as UTF-8", file, line)
		case r == utf8.RuneError && n == 1:
			return fmt.Errorf("%s:%d: the byte 0x%02x is not of UTF-8: save it as UTF-8", file, line, rest[0])
		case r == '\n':
			line++
		}
		rest = rest[n:]
	}
	return nil
}
