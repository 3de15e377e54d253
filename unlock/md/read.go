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
// is broken: the device is a member all the same. If there are several, that
// of the array that was made last counts, as mdadm has it.
func Read(r io.ReaderAt, device string, sizeBytes int64) (*Member, error) {
	if sizeBytes < superBytes || sizeBytes > maxBytes {
		return nil, ErrNone
	}
	var found *Member
	var damaged error
	for _, place := range []struct {
		at    int64
		parse func([]byte, int64, int64) (*Member, error)
	}{
		{0, version1("1.1")},
		{4096, version1("1.2")},
		{(sizeBytes/sectorBytes - 16) &^ 7 * sectorBytes, version1("1.0")}, // super_1_load
		{sizeBytes&^(reserved-1) - reserved, version0},                     // MD_NEW_SIZE_SECTORS
	} {
		b := block(r, place.at, sizeBytes)
		if b == nil || le.Uint32(b) != superMagic {
			continue
		}
		m, err := place.parse(b, place.at, sizeBytes)
		switch {
		case errors.Is(err, ErrNone):
		case err != nil:
			damaged = fail(ErrDamaged, "%s: a superblock of md at byte %d is damaged: %v", device, place.at, err)
		case found == nil || m.made > found.made:
			found = m
		}
	}
	if found == nil && damaged != nil {
		return nil, damaged
	}
	if found == nil {
		found = ofFirmware(r, sizeBytes)
	}
	if found == nil {
		return nil, ErrNone
	}
	found.Device = device
	return found, nil
}

// block is what stands there, nil if it cannot be read: a device that does
// not answer there is none that mdadm would take for a member.
func block(r io.ReaderAt, at, sizeBytes int64) []byte {
	b := make([]byte, superBytes)
	if at < 0 || at+superBytes > sizeBytes {
		return nil
	}
	if n, _ := r.ReadAt(b, at); n < len(b) {
		return nil
	}
	return b
}

// ofFirmware recognizes what firmware made.
func ofFirmware(r io.ReaderAt, sizeBytes int64) *Member {
	for _, f := range firmware {
		b := make([]byte, len(f.signature))
		if n, _ := r.ReadAt(b, sizeBytes-f.fromEnd); n == len(b) && bytes.Equal(b, f.signature) {
			return &Member{Version: f.version, Minor: -1, Level: -100, Place: Spare, Bytes: sizeBytes, needs: "it is " + f.what}
		}
	}
	return nil
}
