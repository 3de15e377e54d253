package initramfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// An Entry is one line of `latchkey image ls`.
type Entry struct {
	Name string      `json:"name"` // as it is written
	Mode fs.FileMode `json:"mode"`
	Size int64       `json:"size_bytes"`
	In   string      `json:"in,omitempty"` // the block that it is in
	Data []byte      `json:"-"`

	links uint32 // names that it has
}

// maxImage caps what List unpacks, in bytes: an image that needs more does
// not boot on the machines that people have.
const maxImage = 1 << 30

// maxName and maxLink are the longest name and target of a link, in bytes:
// PATH_MAX.
const maxName, maxLink = 4096, 4096

// List reads an image as the kernel unpacks it (init/initramfs.c): archives
// one after the other, each plain or compressed. What the kernel would stop
// at is an error.
func List(image []byte) ([]Entry, error) {
	u := &unpacker{left: maxImage}
	for at := 0; at < len(image); {
		rest := image[at:]
		switch {
		case rest[0] == 0:
			at++

		case rest[0] == '0' && at%4 == 0:
			r := &counted{r: bufio.NewReader(bytes.NewReader(rest))}
			if err := u.archive(r); err != nil {
				return nil, fmt.Errorf("reading the archive at byte %d: %w", at, err)
			}
			at += r.n

		default:
			n, err := u.compressed(rest)
			if err != nil {
				return nil, fmt.Errorf("unpacking what is at byte %d: %w", at, err)
			}
			at += n
		}
	}
	return u.entries, nil
}

// The beginnings of what compressed archives are: RFC 8878, 3.1.1, and RFC
// 1952, 2.3.1.
const zstdMagic, gzipMagic = "\x28\xb5\x2f\xfd", "\x1f\x8b"

// errNoImage: the kernel knows no such beginning.
var errNoImage = errors.New("neither a newc archive nor one that zstd or gzip compressed; the kernel would stop here")

// compressed reads one compressed part and returns its length.
func (u *unpacker) compressed(b []byte) (int, error) {
	switch {
	case bytes.HasPrefix(b, []byte(zstdMagic)):
		n, err := zstdFrame(b)
		if err != nil {
			return 0, err
		}
		z, err := zstd.NewReader(bytes.NewReader(b[:n]), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxImage))
		if err != nil {
			return 0, err
		}
		defer z.Close()
		return n, u.archives(z)

	case bytes.HasPrefix(b, []byte(gzipMagic)):
		r := bytes.NewReader(b)
		z, err := gzip.NewReader(r)
		if err != nil {
			return 0, err
		}
		z.Multistream(false)
		if err := u.archives(z); err != nil {
			return 0, err
		}
		return len(b) - r.Len(), nil
	}

	for magic, name := range foreign {
		if bytes.HasPrefix(b, []byte(magic)) {
			return 0, fmt.Errorf("it is compressed by %s, which latchkey does not read", name)
		}
	}
	return 0, errNoImage
}

// foreign are the beginnings of what the kernel unpacks and List does not
// (lib/decompress.c).
var foreign = map[string]string{"\xfd7zXZ\x00": "xz", "\x5d\x00": "lzma", "BZh": "bzip2", "\x02\x21\x4c\x18": "lz4", "\x89LZO": "lzo"}

// Recognize fails for what does not begin as an image that kernels unpack.
func Recognize(image []byte) error {
	for _, magic := range []string{"070701", "070702", zstdMagic, gzipMagic} {
		if bytes.HasPrefix(image, []byte(magic)) {
			return nil
		}
	}
	for magic := range foreign {
		if bytes.HasPrefix(image, []byte(magic)) {
			return nil
		}
	}
	return errNoImage
}

// zstdFrame is the length of the frame that b begins with: RFC 8878,
// section 3.1.1. The kernel unpacks one frame and goes on behind it.
func zstdFrame(b []byte) (int, error) {
	var h zstd.Header
	if err := h.Decode(b[:min(len(b), zstd.HeaderMaxSize)]); err != nil {
		return 0, err
	}
	if h.HasFCS && h.FrameContentSize > maxImage {
		return 0, errTooLarge
	}

	at := h.HeaderSize
	for last := false; !last; {
		if len(b) < at+3 {
			return 0, io.ErrUnexpectedEOF
		}
		block := uint32(b[at]) | uint32(b[at+1])<<8 | uint32(b[at+2])<<16
		last = block&1 != 0
		at += 3
		if size := int(block >> 3); block>>1&3 == 1 { // RLE: one byte, repeated
			at++
		} else {
			at += size
		}
	}
	if h.HasCheckSum {
		at += 4
	}
	if at > len(b) {
		return 0, io.ErrUnexpectedEOF
	}
	return at, nil
}

var errTooLarge = fmt.Errorf("it unpacks to more than %d bytes", maxImage)

// An unpacker gathers entries.
type unpacker struct {
	entries []Entry
	left    int64 // bytes that may still come
}

// archives reads what a compressed part holds: archives, with zeros between
// them, and nothing else.
func (u *unpacker) archives(r io.Reader) error {
	c := &counted{r: bufio.NewReader(r)}
	for {
		b, err := c.peek()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case b == 0:
			n, err := c.zeros()
			if err != nil {
				return err
			}
			u.left -= int64(n)
		case b != '0' || c.n%4 != 0:
			return errNoImage
		default:
			if err := u.archive(c); err != nil {
				return err
			}
		}
		if u.left < 0 {
			return errTooLarge
		}
	}
}

// header is the head of an entry, in bytes: a magic of six digits and
// thirteen numbers of eight (Documentation/driver-api/early-userspace/
// buffer-format.rst).
const header = 6 + 13*8

// archive reads entries up to the one that ends an archive.
func (u *unpacker) archive(r *counted) error {
	for {
		e, err := u.entry(r)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if e.Name == "TRAILER!!!" {
			return nil
		}
		u.entries = append(u.entries, e)
	}
}

// entry reads one entry and the padding behind it.
func (u *unpacker) entry(r *counted) (e Entry, err error) {
	head := make([]byte, header)
	if err := r.full(head); err != nil {
		return e, err
	}
	if m := string(head[:6]); m != "070701" && m != "070702" {
		return e, fmt.Errorf("an entry begins with %q, want 070701", m)
	}

	var field [13]uint32
	for i := range field {
		n, err := strconv.ParseUint(string(head[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return e, fmt.Errorf("number %d of an entry is %q, want 8 hex digits", i+1, head[6+8*i:14+8*i])
		}
		field[i] = uint32(n)
	}

	mode, size, length := field[1], field[6], field[11]
	if length == 0 || length > maxName {
		return e, fmt.Errorf("an entry has a name of %d bytes, want 1 to %d", length, maxName)
	}
	name := make([]byte, length)
	if err := r.full(name); err != nil {
		return e, err
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	e = Entry{Name: strings.TrimPrefix(string(name), "/"), Mode: fileMode(mode), Size: int64(size), links: field[4]}
	if err := r.pad(); err != nil {
		return e, err
	}

	if e.Mode&fs.ModeSymlink != 0 && size > maxLink {
		return e, fmt.Errorf("the link %q has a target of %d bytes, want %d at most", e.Name, size, maxLink)
	}
	if u.left -= int64(header) + int64(length) + int64(size); u.left < 0 {
		return e, errTooLarge
	}
	var body bytes.Buffer // it grows with what is there, not with what is claimed
	if n, err := io.CopyN(&body, r, int64(size)); err != nil {
		return e, fmt.Errorf("%q claims %d bytes and has %d: %w", e.Name, size, n, err)
	}
	e.Data = body.Bytes()
	return e, r.pad()
}

// fileMode is a mode of stat(2) as Go has it.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bits, is := range map[uint32]fs.FileMode{
		0o040000: fs.ModeDir, 0o120000: fs.ModeSymlink, 0o020000: fs.ModeDevice | fs.ModeCharDevice, 0o060000: fs.ModeDevice, 0o010000: fs.ModeNamedPipe, 0o140000: fs.ModeSocket,
	} {
		if mode&0o170000 == bits {
			m |= is
		}
	}
	return m
}
