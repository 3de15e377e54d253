package lvm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	sectorBytes  = 512
	labelSectors = 4   // LABEL_SCAN_SECTORS in lib/label/label.h
	headerBytes  = 512 // MDA_HEADER_SIZE
	// maxText is how much metadata is read, in bytes. The area that pvcreate
	// makes has 1 MiB, and two copies must fit in it.
	maxText = 4 << 20
)

var (
	labelMagic = []byte("LABELONE")
	labelType  = []byte("LVM2 001")
	areaMagic  = []byte(" LVM2 x[5A%r0N*>") // FMTT_MAGIC
)

// A PV is a physical volume, as its own beginning has it.
type PV struct {
	ID        ID
	Device    string // what the caller calls it
	SizeBytes int64  // of the device

	disk  io.ReaderAt
	texts [][]byte // of its metadata areas
	bad   []error  // areas that cannot be read
}

// Read reads the label and the metadata areas of a device of that size. It
// returns an error wrapping ErrNone if there is no label, and one wrapping
// ErrDamaged if the label is broken; broken areas show in Assemble, because
// other areas may have the same.
func Read(r io.ReaderAt, device string, sizeBytes int64) (*PV, error) {
	sector, at, err := findLabel(r)
	if err != nil {
		return nil, &failure{err, fmt.Sprintf("%s: %v", device, err)}
	}

	header := sector[binary.LittleEndian.Uint32(sector[20:]):]
	id, ok := parseID(string(header[:32]))
	if !ok {
		return nil, &failure{ErrDamaged, fmt.Sprintf("%s: the label in sector %d has no UUID", device, at)}
	}
	pv := &PV{ID: id, Device: device, SizeBytes: sizeBytes, disk: r}
	for _, a := range areas(header[40:]) {
		text, err := readArea(r, a)
		switch {
		case err != nil:
			pv.bad = append(pv.bad, fmt.Errorf("the metadata area at byte %d of %s: %w", a.offset, device, err))
		case text != nil:
			pv.texts = append(pv.texts, text)
		}
	}
	return pv, nil
}

// findLabel looks for struct label_header in the first sectors: its CRC
// covers all that comes behind the CRC.
func findLabel(r io.ReaderAt) (sector []byte, at int, err error) {
	head := make([]byte, labelSectors*sectorBytes)
	if n, err := r.ReadAt(head, 0); n < len(head) {
		if err == io.EOF {
			return nil, 0, ErrNone
		}
		return nil, 0, fmt.Errorf("reading the label: %w", err)
	}

	found := ErrNone
	for i := range labelSectors {
		s := head[i*sectorBytes : (i+1)*sectorBytes]
		if !bytes.HasPrefix(s, labelMagic) || !bytes.Equal(s[24:32], labelType) {
			continue
		}
		content := binary.LittleEndian.Uint32(s[20:])
		if binary.LittleEndian.Uint64(s[8:]) == uint64(i) && binary.LittleEndian.Uint32(s[16:]) == checksum(s[20:]) && content >= 32 && content <= sectorBytes-40 {
			return s, i, nil
		}
		found = ErrDamaged // as lvm2 does, look at the next one
	}
	return nil, 0, found
}

// checksum is calc_crc in lib/misc/crc.c with INITIAL_CRC: the usual
// polynomial, begun otherwise and not inverted, half a byte at a time. The
// tables of hash/crc32 would cost the init more than the time here.
func checksum(b []byte) uint32 {
	const initial, polynomial = 0xf597a6cf, 0xedb88320
	var table [16]uint32
	for i := range table {
		c := uint32(i)
		for range 4 {
			c = c>>1 ^ polynomial*(c&1)
		}
		table[i] = c
	}
	crc := uint32(initial)
	for _, c := range b {
		crc ^= uint32(c)
		crc = crc>>4 ^ table[crc&15]
		crc = crc>>4 ^ table[crc&15]
	}
	return crc
}

// A span is struct disk_locn: a part of the device, in bytes.
type span struct{ offset, size uint64 }

// areas are the metadata areas in a pv_header: a list of data areas comes
// first, and each list ends with zeros.
func areas(b []byte) (found []span) {
	for list := 0; list < 2; {
		if len(b) < 16 {
			return nil // lists that do not end are none
		}
		s := span{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
		b = b[16:]
		switch {
		case s.offset == 0:
			list++
		case list == 1:
			found = append(found, s)
		}
	}
	return found
}

// readArea reads struct mda_header and the text that its first raw_locn
// means, which goes on behind the header where it reaches the area's end.
// Both are nil for an area that holds no group, or that lvm2 ignores.
func readArea(r io.ReaderAt, a span) ([]byte, error) {
	if a.offset > 1<<60 || a.size < 2*headerBytes || a.size > 1<<60 {
		return nil, fmt.Errorf("it has %d bytes", a.size)
	}
	h := make([]byte, headerBytes)
	if _, err := r.ReadAt(h, int64(a.offset)); err != nil {
		return nil, err
	}

	le := binary.LittleEndian
	offset, size := le.Uint64(h[40:]), le.Uint64(h[48:])
	switch {
	case !bytes.Equal(h[4:20], areaMagic):
		return nil, fmt.Errorf("its header is not one")
	case le.Uint32(h) != checksum(h[4:]):
		return nil, fmt.Errorf("the checksum of its header is wrong")
	case le.Uint32(h[20:]) != 1:
		return nil, fmt.Errorf("it has version %d, want 1", le.Uint32(h[20:]))
	case le.Uint64(h[24:]) != a.offset || le.Uint64(h[32:]) != a.size:
		return nil, fmt.Errorf("its header is that of another one")
	case offset == 0 || le.Uint32(h[60:])&1 != 0: // RAW_LOCN_IGNORED
		return nil, nil
	case offset < headerBytes || offset >= a.size || size == 0 || size > a.size-headerBytes || size > maxText:
		return nil, fmt.Errorf("its text has %d bytes at %d, and the area %d", size, offset, a.size)
	}

	text := make([]byte, size)
	first := text[:min(size, a.size-offset)]
	if _, err := r.ReadAt(first, int64(a.offset+offset)); err != nil {
		return nil, err
	}
	if rest := text[len(first):]; len(rest) > 0 {
		if _, err := r.ReadAt(rest, int64(a.offset+headerBytes)); err != nil {
			return nil, err
		}
	}
	if le.Uint32(h[56:]) != checksum(text) {
		return nil, fmt.Errorf("the checksum of its text is wrong")
	}
	return bytes.TrimRight(text, "\x00"), nil
}
