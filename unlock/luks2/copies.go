package luks2

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"regexp"
)

// The binary header, LUKS2 On-Disk Format Specification 1.1.3, section 2.1.
// All integers are big-endian.
const (
	binSize = 4096 // the binary header, before the JSON area

	offVersion    = 6
	offHdrSize    = 8
	offSeqID      = 16
	offLabel      = 24
	offAlg        = 72
	offSalt       = 104
	offUUID       = 168
	offSubsystem  = 208
	offHdrOffset  = 256
	offChecksum   = 448
	checksumSize  = 64
	labelSize     = 48
	algSize       = 32
	saltFieldSize = 64
	uuidSize      = 40
)

const (
	magicPrimary   = "LUKS\xba\xbe"
	magicSecondary = "SKUL\xba\xbe"
)

// minHeader and maxHeader bound one header copy; a size is a power of two
// between them: specification, section 2.2, table 1.
const (
	minHeader = 16 << 10
	maxHeader = 4 << 20
)

// hdrCopy is one header copy as read, or why there is none.
type hdrCopy struct {
	raw    []byte // the whole copy, checksum valid; nil if not usable
	magic  bool   // a LUKS magic was seen
	offset int64
	err    error // an input error or a rule broken by a copy that must not be skipped
}

func (c hdrCopy) seqID() uint64 { return binary.BigEndian.Uint64(c.raw[offSeqID:]) }

var otherAlg = regexp.MustCompile(`^[a-z0-9-]{3,}$`)

// readCopy reads the copy at offset once. A copy that is damaged has
// neither raw nor err.
func readCopy(r io.ReaderAt, offset, deviceSize int64) hdrCopy {
	c := hdrCopy{offset: offset}
	if offset+minHeader > deviceSize {
		return c
	}
	bin := make([]byte, binSize)
	if err := readFull(r, bin, offset); err != nil {
		c.err = err
		return c
	}
	magic := magicPrimary
	if offset > 0 {
		magic = magicSecondary
	}
	if string(bin[:6]) != magic {
		return c
	}
	version := binary.BigEndian.Uint16(bin[offVersion:])
	if offset == 0 && version == 1 {
		c.err = ErrLUKS1
		return c
	}
	c.magic = true
	size := binary.BigEndian.Uint64(bin[offHdrSize:])
	if version != 2 || !headerSize(size) || binary.BigEndian.Uint64(bin[offHdrOffset:]) != uint64(offset) ||
		offset+int64(size) > deviceSize || offset > 0 && uint64(offset) != size {
		return c
	}
	raw := append(bin, make([]byte, size-binSize)...)
	if err := readFull(r, raw[binSize:], offset+binSize); err != nil {
		c.err = err
		return c
	}
	// cryptsetup would verify such a copy and perhaps use it; to call it
	// damaged would let a header mean one thing there and another here.
	if alg := cString(raw[offAlg : offAlg+algSize]); alg != "sha256" {
		if otherAlg.MatchString(alg) {
			c.err = reject("checksum-algorithm", "the header checksum is %q, only sha256 is accepted", alg)
		}
		return c
	}
	if checksum(raw) == [sha256.Size]byte(raw[offChecksum:offChecksum+sha256.Size]) {
		c.raw = raw
	}
	return c
}

func headerSize(n uint64) bool { return n >= minHeader && n <= maxHeader && n&(n-1) == 0 }

// checksum is SHA-256 over the copy with a zero checksum field:
// specification, section 2.1, csum.
func checksum(raw []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(raw[:offChecksum])
	h.Write(make([]byte, checksumSize))
	h.Write(raw[offChecksum+checksumSize:])
	return [sha256.Size]byte(h.Sum(nil))
}

// chooseCopy picks the header as cryptsetup does (LUKS2_disk_hdr_read in
// lib/luks2/luks2_disk_metadata.c): the higher seqid of the valid copies,
// the primary when they are equal. One difference: a copy with a valid
// checksum whose JSON breaks a rule is rejected by the caller, not passed
// over for the other one.
func chooseCopy(r io.ReaderAt, deviceSize int64) (used, other hdrCopy, err error) {
	first := readCopy(r, 0, deviceSize)
	if _, ok := errors.AsType[*Rejected](first.err); ok {
		return first, other, first.err
	}
	second := readSecondary(r, first, deviceSize)
	if _, ok := errors.AsType[*Rejected](second.err); ok {
		return first, second, second.err
	}
	switch {
	case first.raw != nil && (second.raw == nil || first.seqID() >= second.seqID()):
		return first, second, nil
	case second.raw != nil:
		return second, first, nil
	case first.err != nil:
		return first, second, &IOError{first.err}
	case first.magic || second.magic:
		return first, second, ErrDamaged
	}
	return first, second, ErrNotLUKS
}

// readSecondary reads the copy that the primary points at, or looks at
// each place where a secondary may be when there is no primary.
func readSecondary(r io.ReaderAt, first hdrCopy, deviceSize int64) hdrCopy {
	if first.raw != nil {
		return readCopy(r, int64(len(first.raw)), deviceSize)
	}
	var seen hdrCopy
	for offset := int64(minHeader); offset <= maxHeader; offset *= 2 {
		c := readCopy(r, offset, deviceSize)
		if _, rejected := errors.AsType[*Rejected](c.err); c.raw != nil || rejected {
			return c
		}
		if c.magic {
			seen = c
		}
	}
	return seen
}

func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// cString is the text before the first NUL, or "" when what follows the
// NUL is not all zero or no NUL is there.
func cString(field []byte) string {
	text, rest, found := bytes.Cut(field, []byte{0})
	if !found || len(bytes.TrimLeft(rest, "\x00")) > 0 {
		return ""
	}
	return string(text)
}
