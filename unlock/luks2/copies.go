package luks2

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
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
		if isWord(alg) {
			c.err = reject("checksum-algorithm", "the header checksum is %q, only sha256 is accepted", alg)
		}
		return c
	}

	if checksum(raw) == [sha256.Size]byte(raw[offChecksum:offChecksum+sha256.Size]) {
		c.raw = raw
	}
	return c
}

// isWord tells the name of an algorithm from the field of a damaged copy.
func isWord(s string) bool {
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(s) > 2
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

// CopyState is how the header copy that is not in use compares to the one
// that is.
type CopyState int

const (
	CopySame    CopyState = iota + 1
	CopyStale             // valid, of another state of the volume
	CopyDamaged           // no valid header
)

func (s CopyState) String() string {
	return [...]string{CopySame: "same", CopyStale: "stale", CopyDamaged: "damaged"}[s]
}

// compare leaves out what must differ: magic, salt, place and checksum.
func (c hdrCopy) compare(other hdrCopy) CopyState {
	if other.raw == nil {
		return CopyDamaged
	}
	for _, part := range [][2]int{{offHdrSize, offAlg}, {offUUID, offHdrOffset}, {binSize, len(c.raw)}} {
		if len(c.raw) != len(other.raw) || !bytes.Equal(c.raw[part[0]:part[1]], other.raw[part[0]:part[1]]) {
			return CopyStale
		}
	}
	return CopySame
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
