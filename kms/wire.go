package kms

import (
	"encoding/binary"
	"fmt"
)

// Every message is a sequence of fields, each with a length of two bytes,
// big endian. A list is one field that holds the fields of its elements.
// Nothing is optional and nothing follows the last field.

// A Writer builds a message.
type Writer struct{ b []byte }

// NewWriter has room for so many bytes: one that holds secrets must not
// grow, because that leaves a copy behind.
func NewWriter(room int) *Writer { return &Writer{make([]byte, 0, room)} }

// Field appends one field.
func (w *Writer) Field(b []byte) {
	if len(b) > 0xffff {
		panic("kms: field over 64 KiB") // our own bounds are far below
	}
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(b)))
	w.b = append(w.b, b...)
}

// Byte appends a field of one byte.
func (w *Writer) Byte(b byte) { w.Field([]byte{b}) }

// Uint64 appends a field of eight bytes, big endian.
func (w *Writer) Uint64(v uint64) { w.Field(binary.BigEndian.AppendUint64(nil, v)) }

// Bytes is the message so far.
func (w *Writer) Bytes() []byte { return w.b }

// A Reader takes a message apart. After the first error every read gives
// zero values, so that the error is looked at once, at End.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, which must be within MaxMessage.
func NewReader(b []byte) *Reader {
	r := &Reader{b: b}
	if len(b) > MaxMessage {
		r.fail("%d bytes", len(b))
	}
	return r
}

func (r *Reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{errMessage}, args...)...)
	}
	r.b = nil
}

// Field reads a field of at most limit bytes. The result shares b.
func (r *Reader) Field(name string, limit int) []byte {
	if len(r.b) < 2 {
		r.fail("%s is missing", name)
		return nil
	}

	n := int(binary.BigEndian.Uint16(r.b))
	if n > limit {
		r.fail("%s has %d bytes, limit %d", name, n, limit)
		return nil
	}

	if len(r.b)-2 < n {
		r.fail("%s is cut short", name)
		return nil
	}

	field := r.b[2 : 2+n : 2+n]
	r.b = r.b[2+n:]
	return field
}

// Exact reads a field of exactly n bytes; on error it gives n zero bytes.
func (r *Reader) Exact(name string, n int) []byte {
	field := r.Field(name, n)
	if len(field) != n {
		r.fail("%s has %d bytes, not %d", name, len(field), n)
		return make([]byte, n)
	}
	return field
}

// Maybe32 reads a field of 32 bytes or of none.
func (r *Reader) Maybe32(name string) []byte {
	field := r.Field(name, 32)
	if len(field) != 0 && len(field) != 32 {
		r.fail("%s has %d bytes", name, len(field))
		return nil
	}
	return field
}

// Byte reads a field of one byte.
func (r *Reader) Byte(name string) byte { return r.Exact(name, 1)[0] }

// Uint64 reads a field of eight bytes.
func (r *Reader) Uint64(name string) uint64 { return binary.BigEndian.Uint64(r.Exact(name, 8)) }

// List reads a list, calling element while there is something left in it,
// at most limit times.
func (r *Reader) List(name string, limit int, element func(*Reader)) {
	inner := &Reader{b: r.Field(name, MaxMessage)}
	for n := 0; len(inner.b) > 0; n++ {
		if n == limit {
			r.fail("%s has more than %d elements", name, limit)
			return
		}
		element(inner)
	}
	if inner.err != nil && r.err == nil {
		r.err = inner.err
		r.b = nil
	}
}

// More tells whether there is something left, and no error.
func (r *Reader) More() bool { return r.err == nil && len(r.b) > 0 }

// End tells the first error; what is left over is one.
func (r *Reader) End() error {
	if len(r.b) > 0 {
		r.fail("%d trailing bytes", len(r.b))
	}
	return r.err
}
