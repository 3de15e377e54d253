// Package bcachetest makes devices of bcache in memory, whole or broken, as
// make-bcache(8) of bcache-tools does.
package bcachetest

import "encoding/binary"

// Set is the UUID of the cache set of what is made, as bytes.
const Set = "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"

// States of a backing device.
const (
	None, Clean, Dirty, Stale = 0, 1, 2, 3
)

// A Device is one to be made.
type Device struct {
	Version uint64 // 1 is a backing device, 3 a cache, 4 a backing device that says where its data begin
	UUID    byte   // the first of the UUID's, the others are zero
	State   uint64 // of a backing device
	Mode    uint64 // of a backing device: 0 is writethrough, 1 writeback
	Data    []byte // of a backing device
	Bytes   int    // of the device; 0 is 1 MiB more than the data
}

// At is where the superblock is, and Offset where the data of a backing device
// of version 1 are.
const (
	At     = 4096
	Offset = 8192
)

var le = binary.LittleEndian

// Device is the device.
func (d Device) Device() []byte {
	if d.Bytes == 0 {
		d.Bytes = len(d.Data) + 1<<20
	}
	b := make([]byte, d.Bytes)
	copy(b[Offset:], d.Data)
	sb := b[At:]
	le.PutUint64(sb[8:], At/512)
	le.PutUint64(sb[16:], d.Version)
	copy(sb[24:], "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")
	sb[40] = d.UUID
	copy(sb[56:], Set)
	le.PutUint16(sb[192:], 1) // block size, sectors
	if d.Version == 3 {
		const bucket = 128 // sectors
		le.PutUint64(sb[184:], uint64(d.Bytes)/(bucket*512))
		le.PutUint16(sb[194:], bucket)
		le.PutUint16(sb[196:], 1) // devices in the set
		le.PutUint16(sb[204:], 1) // the first bucket, behind the superblock
	} else {
		le.PutUint64(sb[104:], d.Mode|d.State<<61)
		le.PutUint64(sb[184:], Offset/512)
	}
	Seal(b)
	return b
}

// Seal makes the checksum of a superblock right.
func Seal(b []byte) {
	sb := b[At:]
	sum := ^uint64(0)
	for _, c := range sb[8 : 208+8*int(le.Uint16(sb[206:]))] {
		sum ^= uint64(c) << 56
		for range 8 {
			high := sum >> 63
			if sum <<= 1; high == 1 {
				sum ^= 0x42f0e1eba9ea3693
			}
		}
	}
	le.PutUint64(sb, ^sum)
}
