package cli

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A plainWriter keeps what others chose (names in a LAN, in a file, in a
// database) from steering the terminal: control characters but line breaks
// and tabs become "?". Errors count what was given, not what was written.
type plainWriter struct{ to io.Writer }

func (p plainWriter) Write(b []byte) (int, error) {
	if _, err := p.to.Write(plain(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// plain returns b itself if there is nothing to replace.
func plain(b []byte) []byte {
	clean := func(r rune, n int) bool {
		return r == '\n' || r == '\t' || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r) && (r != utf8.RuneError || n > 1)
	}
	var out []byte
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		switch ok := clean(r, n); {
		case ok && out != nil:
			out = append(out, b[i:i+n]...)
		case !ok && out == nil:
			out = append(make([]byte, 0, len(b)), b[:i]...)
			fallthrough
		case !ok:
			out = append(out, '?')
		}
		i += n
	}
	if out == nil {
		return b
	}
	return out
}

// OneLine makes text that somebody else chose fit for a table: it can
// neither end the line nor move to another column.
func OneLine(s string) string {
	return strings.NewReplacer("\n", "?", "\t", "?").Replace(string(plain([]byte(s))))
}
