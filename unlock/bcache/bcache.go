// Package bcache reads the superblocks of bcache's devices, and judges which
// caches a backing device needs. It writes nothing.
//
// The sources are the kernel's: drivers/md/bcache/bcache_ondisk.h for what is
// on the disk, read_super in super.c for what is valid.
package bcache

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// What an error of this package means; its text is one line for people.
var (
	// ErrNone means that the device is not bcache's.
	ErrNone = errors.New("no device of bcache")
	// ErrDamaged means that it is, and that its superblock breaks a rule.
	ErrDamaged = errors.New("damaged superblock of bcache")
)

// A Device is a backing device or a cache.
type Device struct {
	Path     string // what the caller calls it
	UUID     string
	Set      string // the UUID of the cache set that it belongs to, if any
	Cache    bool   // it is a cache
	Attached bool   // a backing device that the kernel runs with its set only
	Dirty    bool   // a backing device the newest contents of which are in the set
	// DataBytes is where a backing device's contents begin.
	DataBytes int64
}

// Where the superblock is, and its parts: struct cache_sb_disk.
const (
	at        = 4096
	atSum     = 0
	atOffset  = 8
	atVersion = 16
	atMagic   = 24
	atUUID    = 40
	atSet     = 56
	atFlags   = 104
	atData    = 184 // data_offset of a backing device, in sectors
	atKeys    = 206
	atD       = 208
	maxKeys   = 256 // SB_JOURNAL_BUCKETS
	size      = atD + 8*maxKeys

	sectorBytes = 512
	firstSector = 16 // BDEV_DATA_START_DEFAULT
)

const magic = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"

// States of a backing device: BDEV_STATE, bits 61 and 62 of the flags.
const (
	stateNone  = 0
	stateDirty = 2
	stateStale = 3
)

var le = binary.LittleEndian

// Read looks for a superblock on a device of that size. It returns an error
// wrapping ErrNone if there is none, and one wrapping ErrDamaged if it is
// broken: the kernel takes no such device.
func Read(r io.ReaderAt, path string, sizeBytes int64) (*Device, error) {
	b := make([]byte, size)
	n, _ := r.ReadAt(b, at)
	if n < atFlags || string(b[atMagic:atUUID]) != magic {
		return nil, fmt.Errorf("%s: %w", path, ErrNone)
	}
	bad := func(format string, args ...any) (*Device, error) {
		return nil, fmt.Errorf("%s: %w: %s", path, ErrDamaged, fmt.Sprintf(format, args...))
	}
	keys := int(le.Uint16(b[atKeys:]))
	switch {
	case n < size:
		return bad("it ends before its end")
	case le.Uint64(b[atOffset:]) != at/sectorBytes:
		return bad("it is not where it says")
	case keys > maxKeys:
		return bad("%d journal buckets, at most %d", keys, maxKeys)
	case le.Uint64(b[atSum:]) != checksum(b[atOffset:atD+8*keys]):
		return bad("the checksum is wrong")
	}

	d := &Device{Path: path, UUID: uuid(b[atUUID:]), Set: uuid(b[atSet:])}
	switch version := le.Uint64(b[atVersion:]); version {
	case 0, 3, 5: // BCACHE_SB_VERSION_CDEV, …_WITH_UUID, …_WITH_FEATURES
		d.Cache = true
		return d, nil
	case 1: // BCACHE_SB_VERSION_BDEV
		d.DataBytes = firstSector * sectorBytes
	case 4, 6: // …_WITH_OFFSET, …_WITH_FEATURES
		sector := le.Uint64(b[atData:])
		if sector < firstSector || sector >= uint64(max(sizeBytes, 0)/sectorBytes) {
			return bad("its data begin at sector %d, of a device of %d bytes", sector, sizeBytes)
		}
		d.DataBytes = int64(sector) * sectorBytes
	default:
		return bad("version %d is not known", version)
	}
	state := le.Uint64(b[atFlags:]) >> 61 & 3
	d.Attached, d.Dirty = state != stateNone && state != stateStale, state == stateDirty
	return d, nil
}

func uuid(b []byte) string {
	s := hex.EncodeToString(b[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// checksum is bch_crc64: crc64_be of lib/crc64.c, from all ones and inverted.
func checksum(b []byte) uint64 {
	sum := ^uint64(0)
	for _, c := range b {
		sum = table[byte(sum>>56)^c] ^ sum<<8
	}
	return ^sum
}

// table is that of ECMA-182's polynomial, the highest bit first; hash/crc64
// has it the other way round.
var table = func() (t [256]uint64) {
	const polynomial = 0x42f0e1eba9ea3693
	for i := range t {
		sum := uint64(i) << 56
		for range 8 {
			high := sum >> 63
			sum <<= 1
			if high == 1 {
				sum ^= polynomial
			}
		}
		t[i] = sum
	}
	return t
}()

// Caches are the devices of a backing device's set; none if it needs none.
func (d *Device) Caches(all []*Device) (caches []*Device) {
	for _, c := range all {
		if d.Attached && c.Cache && c.Set == d.Set {
			caches = append(caches, c)
		}
	}
	return caches
}
