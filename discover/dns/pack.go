package dns

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

type writer struct {
	buf   []byte
	names map[Name]int // where a name stands, for compression
	plain bool         // no compression at all
	err   error
}

// Pack writes the message.
func (m *Message) Pack() ([]byte, error) {
	w := m.write()
	if w.err == nil && len(w.buf) > MaxMessage {
		w.err = fmt.Errorf("%d bytes, the limit is %d", len(w.buf), MaxMessage)
	}
	if w.err != nil {
		return nil, fmt.Errorf("writing DNS message: %w", w.err)
	}

	return w.buf, nil
}

// Size is how many bytes Pack would write, were there no limit.
func (m *Message) Size() int { return len(m.write().buf) }

func (m *Message) write() *writer {
	w := &writer{names: map[Name]int{}}
	flags := uint16(m.Opcode&15)<<11 | uint16(m.RCode&15)
	for bit, on := range map[uint16]bool{0x8000: m.Response, 0x0400: m.Authoritative, 0x0200: m.Truncated, 0x0100: m.Recurse} {
		if on {
			flags |= bit
		}
	}

	w.uint16(m.ID, flags, uint16(len(m.Questions)), uint16(len(m.Answers)), uint16(len(m.Authorities)), uint16(len(m.Additionals)))
	for _, q := range m.Questions {
		w.appendName(q.Name, true)
		w.uint16(uint16(q.Type), class(q.Class, q.Unicast))
	}
	for _, r := range slices.Concat(m.Answers, m.Authorities, m.Additionals) {
		w.record(r)
	}

	return w
}

func class(c uint16, top bool) uint16 {
	if c == 0 {
		c = ClassIN
	}
	if top {
		c |= topBit
	}
	return c
}

func (w *writer) uint16(values ...uint16) {
	for _, v := range values {
		w.buf = binary.BigEndian.AppendUint16(w.buf, v)
	}
}

func (w *writer) record(r Record) {
	w.appendName(r.Name, true)
	w.uint16(uint16(r.Data.Type()), class(r.Class, r.Flush), uint16(r.TTL>>16), uint16(r.TTL), 0)
	start := len(w.buf)
	w.data(r.Data)
	if size := len(w.buf) - start; size <= 0xffff {
		binary.BigEndian.PutUint16(w.buf[start-2:], uint16(size))
	} else {
		w.err = fmt.Errorf("record of %s has %d bytes", r.Name, size)
	}
}

// Canonical is class, type and data without compression, by which records
// are put in order: RFC 6762, section 8.2.
func (r Record) Canonical() ([]byte, error) {
	w := &writer{plain: true}
	w.uint16(class(r.Class, false), uint16(r.Data.Type()))
	w.data(r.Data)
	return w.buf, w.err
}

func (w *writer) data(d Data) {
	switch d := d.(type) {
	case A:
		w.buf = append(w.buf, d.Addr.AsSlice()...)
	case AAAA:
		w.buf = append(w.buf, d.Addr.AsSlice()...)
	case PTR:
		w.appendName(d.Target, true)

	case CNAME:
		w.appendName(d.Target, true)
	case SRV:
		w.uint16(d.Priority, d.Weight, d.Port)
		w.appendName(d.Target, false) // RFC 2782: no compression
	case TXT:
		w.buf = append(w.buf, d.Text...)

	case NSEC:
		w.appendName(d.Next, false)
		w.buf = append(w.buf, d.Types...)
	case Raw:
		w.buf = append(w.buf, d.Data...)
	}
}

// Text makes a TXT of strings of at most 255 bytes. It is never empty:
// RFC 6763, section 6.1.
func Text(strs ...string) TXT {
	var b strings.Builder
	for _, s := range strs {
		s = s[:min(len(s), 255)]
		b.WriteByte(byte(len(s)))
		b.WriteString(s)
	}
	if b.Len() == 0 {
		b.WriteByte(0)
	}
	return TXT{b.String()}
}

// Strings returns the strings of a TXT; what is cut off is left out.
func (t TXT) Strings() []string {
	var out []string
	for s := t.Text; s != ""; {
		n := int(s[0])
		if 1+n > len(s) {
			break
		}
		if n > 0 {
			out = append(out, s[1:1+n])
		}
		s = s[1+n:]
	}
	return out
}

// Types makes the bitmap of an NSEC record for types below 256.
func Types(types ...Type) string {
	bitmap := make([]byte, 2, 34)
	for _, t := range types {
		at := 2 + int(t&0xff)/8
		bitmap = append(bitmap, make([]byte, max(0, at+1-len(bitmap)))...)
		bitmap[at] |= 0x80 >> (t & 7)
	}
	bitmap[1] = byte(len(bitmap) - 2)
	return string(bitmap)
}
