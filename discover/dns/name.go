// Package dns reads and writes DNS messages (RFC 1035) with what multicast
// DNS (RFC 6762) adds. Unlike golang.org/x/net/dns/dnsmessage, which is
// its oracle in tests, it takes labels with dots, which service instances
// have ("Key server v1.2"), and it knows NSEC.
package dns

import (
	"errors"
	"strings"
)

// A Name is a domain name in presentation form, with dots between the
// labels and none at the end; a dot or backslash inside a label has a
// backslash before it. The root is "".
type Name string

// Limits of RFC 1035, section 2.3.4.
const (
	maxLabel = 63
	maxName  = 255
)

var (
	errName  = errors.New("malformed name")
	errShort = errors.New("message ends early")
)

// Equal compares as RFC 1035, section 2.3.3 and RFC 6762, section 16 do:
// ASCII letters in any case.
func (n Name) Equal(o Name) bool {
	if len(n) != len(o) {
		return false
	}
	for i := range len(n) {
		if lower(n[i]) != lower(o[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Key is n in lower case, to be used as a map key.
func (n Name) Key() Name {
	return Name(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, string(n)))
}

// Label makes the name of one label of any text.
func Label(text string) Name {
	return Name(strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(text))
}

// Under returns n as the label or labels before parent.
func (n Name) Under(parent Name) Name { return n + "." + parent }

// Cut returns the first label as text, and the parent.
func (n Name) Cut() (label string, parent Name) {
	var b strings.Builder
	for i := 0; i < len(n); i++ {
		switch {
		case n[i] == '\\' && i+1 < len(n):
			i++
		case n[i] == '.':
			return b.String(), n[i+1:]
		}
		b.WriteByte(n[i])
	}
	return b.String(), ""
}

// HasSuffix tells whether n ends with the labels of s.
func (n Name) HasSuffix(s Name) bool {
	for rest := n.Key(); ; {
		if rest == s.Key() {
			return true
		}
		if rest == "" {
			return false
		}
		_, rest = rest.Cut()
	}
}

// Check tells whether n can be written into a message.
func (n Name) Check() error {
	size := 1
	for rest := n; rest != ""; {
		var label string
		label, rest = rest.Cut()
		if size += len(label) + 1; label == "" || len(label) > maxLabel || size > maxName {
			return errName
		}
	}
	return nil
}

// readName reads a name at off and returns the offset after it. Pointers
// must point backwards (RFC 1035, section 4.1.4), each further than the
// last, so no name has a loop.
func readName(msg []byte, off int) (Name, int, error) {
	var b strings.Builder
	end, limit, size := 0, off, 1
	for {
		if off >= len(msg) {
			return "", 0, errShort
		}
		c := int(msg[off])
		switch {
		case c == 0:
			if end == 0 {
				end = off + 1
			}
			return Name(b.String()), end, nil

		case c&0xc0 == 0xc0:
			if off+1 >= len(msg) {
				return "", 0, errShort
			}
			if end == 0 {
				end = off + 2
			}
			off = c&0x3f<<8 | int(msg[off+1])
			if off >= limit {
				return "", 0, errName
			}
			limit = off
			continue

		case c > maxLabel:
			return "", 0, errName
		case off+1+c > len(msg):
			return "", 0, errShort
		}

		if size += c + 1; size > maxName {
			return "", 0, errName
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}

		b.WriteString(string(Label(string(msg[off+1 : off+1+c]))))
		off += 1 + c
	}
}

// appendName writes n; names written before are pointed to.
func (w *writer) appendName(n Name, compress bool) {
	if n.Check() != nil {
		w.err = errName
		return
	}
	for n != "" {
		key := n.Key()
		at, known := w.names[key]
		if known && compress {
			w.buf = append(w.buf, 0xc0|byte(at>>8), byte(at))
			return
		}

		if !known && !w.plain && len(w.buf) < 1<<14 {
			w.names[key] = len(w.buf)
		}
		var label string
		label, n = n.Cut()
		w.buf = append(append(w.buf, byte(len(label))), label...)
	}
	w.buf = append(w.buf, 0)
}
