package md

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

const (
	sectorBytes = 512
	superMagic  = 0xa92b4efc
	superBytes  = 4096 // of either superblock, with all that may follow
	reserved    = 64 << 10
	maxBytes    = 1 << 60 // of a device: nothing that is computed overflows
)

var le = binary.LittleEndian

// firmware are the signatures of arrays that firmware makes, and how far
// before the end of the device they stand: super-intel.c and super-ddf.c of
// mdadm.
var firmware = []struct {
	version, what string
	fromEnd       int64
	signature     []byte
}{
	{"imsm", "Intel firmware RAID (IMSM)", 2 * sectorBytes, []byte("Intel Raid ISM Cfg Sig. ")},
	{"imsm", "Intel firmware RAID (IMSM)", 2 * 4096, []byte("Intel Raid ISM Cfg Sig. ")},
	{"ddf", "firmware RAID (DDF)", sectorBytes, []byte{0xde, 0x11, 0xde, 0x11}},
}

// Read looks for a superblock on a device of that size: 1.1 and 1.2 are at
// its beginning, 1.0, 0.90 and those of firmware at its end. It returns an
// error wrapping ErrNone if there is none, and one wrapping ErrDamaged if it
// is broken: the device is a member all the same, of which only Device,
// Version and At are known. If there are several, that
// of the array that was made last counts, as mdadm has it.
func Read(r io.ReaderAt, device string, sizeBytes int64) (*Member, error) {
	if sizeBytes < superBytes || sizeBytes > maxBytes {
		return nil, ErrNone
	}
	ends := readEnds(r, sizeBytes)
	var found, broken *Member
	var damage error
	for _, place := range []struct {
		version string
		at      int64
		parse   func([]byte, int64, int64) (*Member, error)
	}{
		{"1.1", 0, version1("1.1")},
		{"1.2", 4096, version1("1.2")},
		{"1.0", (sizeBytes/sectorBytes - 16) &^ 7 * sectorBytes, version1("1.0")}, // super_1_load
		{"0.90", sizeBytes&^(reserved-1) - reserved, version0},                    // MD_NEW_SIZE_SECTORS
	} {
		b := ends.block(place.at, superBytes)
		if b == nil || le.Uint32(b) != superMagic {
			continue
		}
		m, err := place.parse(b, place.at, sizeBytes)
		switch {
		case errors.Is(err, ErrNone):
		case err != nil:
			broken = &Member{Device: device, Version: place.version, At: place.at}
			damage = fail(ErrDamaged, "%s: a superblock of md at byte %d is damaged: %v", device, place.at, err)
		case found == nil || m.made > found.made:
			found = m
			found.At = place.at
		}
	}
	if found == nil && damage != nil {
		return broken, damage
	}
	if found == nil {
		found = ofFirmware(ends)
	}
	if found == nil {
		return nil, ErrNone
	}
	found.Device = device
	return found, nil
}

// Parts of a device in which all superblocks are, in bytes.
const (
	headBytes = 4096 + superBytes
	tailBytes = 2 * reserved
)

// ends are the beginning and the end of a device, each read at once: a slow
// disk pays for every read.
type ends struct {
	r          io.ReaderAt
	sizeBytes  int64
	head, tail []byte // nil if not all of it can be read
}

func readEnds(r io.ReaderAt, sizeBytes int64) *ends {
	e := &ends{r: r, sizeBytes: sizeBytes}
	e.head = e.read(0, min(headBytes, sizeBytes))
	e.tail = e.read(max(0, sizeBytes-tailBytes), min(tailBytes, sizeBytes))
	return e
}

func (e *ends) read(at, n int64) []byte {
	b := make([]byte, n)
	if got, _ := e.r.ReadAt(b, at); got < len(b) {
		return nil
	}
	return b
}

// block is what stands there, nil if it cannot be read: a device that does
// not answer there is none that mdadm would take for a member.
func (e *ends) block(at, n int64) []byte {
	tail := at - (e.sizeBytes - int64(len(e.tail)))
	switch {
	case at < 0 || at+n > e.sizeBytes:
		return nil
	case at+n <= int64(len(e.head)):
		return e.head[at : at+n]
	case e.tail != nil && tail >= 0:
		return e.tail[tail : tail+n]
	}
	return e.read(at, n)
}

// ofFirmware recognizes what firmware made.
func ofFirmware(e *ends) *Member {
	for _, f := range firmware {
		at := e.sizeBytes - f.fromEnd
		if bytes.Equal(e.block(at, int64(len(f.signature))), f.signature) {
			return &Member{Version: f.version, Minor: -1, Level: -100, Place: Spare, Bytes: e.sizeBytes, At: at, needs: "it is " + f.what}
		}
	}
	return nil
}
