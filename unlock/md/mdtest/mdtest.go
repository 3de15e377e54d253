// Package mdtest makes members of arrays in memory, whole or broken, by the
// layouts of the kernel's include/uapi/linux/raid/md_p.h.
package mdtest

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// UUID is that of the arrays that are made, as mdadm prints it.
const UUID = "0c4f3a52:9b0e4f8d:8e572a1f:6f1b9d10"

// A Member is one to be made.
type Member struct {
	Version  string // "0.90", "1.0", "1.1", "1.2"
	UUID     string // "" is UUID
	Name     string // "host:root"
	Level    int
	Layout   uint32
	Places   int // raid_disks
	Number   int
	Places1  []uint16 // the roles of all devices; nil is each its own number
	Events   uint64
	Dirty    bool
	Features uint32
	Bytes    int    // of the device; 0 is 1 MiB more than the data
	Data     []byte // what the device holds of the array
	Minor    uint32 // of 0.90: the number of the array
	Made     uint64 // seconds
}

// DataOffset is where the data of 1.1 and 1.2 begins, in bytes.
const DataOffset = 1 << 20

var le = binary.LittleEndian

// Device is the device that the member is.
func (m Member) Device() []byte {
	if m.Bytes == 0 {
		m.Bytes = (len(m.Data)+4095)&^4095 + 2<<20
	}
	if m.UUID == "" {
		m.UUID = UUID
	}
	if m.Places1 == nil {
		for i := range max(m.Places, m.Number+1) {
			m.Places1 = append(m.Places1, uint16(i))
		}
	}
	b := make([]byte, m.Bytes)
	switch m.Version {
	case "0.90":
		copy(b, m.Data)
		m.version0(b[Offset(m.Version, len(b)):])
	case "1.0":
		copy(b, m.Data)
		m.version1(b, 0, uint64(Offset(m.Version, len(b))/512)&^7-8)
	default:
		copy(b[DataOffset:], m.Data)
		m.version1(b, DataOffset/512, uint64(len(b)-DataOffset)/512)
	}
	return b
}

// Offset is where the superblock of a version is on a device of that size.
func Offset(version string, size int) int {
	switch version {
	case "0.90":
		return size&^(64<<10-1) - 64<<10
	case "1.0":
		return (size/512 - 16) &^ 7 * 512
	case "1.2":
		return 4096
	}
	return 0
}

func (m Member) version1(device []byte, offset, size uint64) {
	at := Offset(m.Version, len(device))
	b := device[at:]
	le.PutUint32(b, 0xa92b4efc)
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], m.Features)
	uuid, _ := hex.DecodeString(strings.ReplaceAll(m.UUID, ":", ""))
	copy(b[16:32], uuid)
	copy(b[32:64], m.Name)
	le.PutUint64(b[64:], m.Made)
	le.PutUint32(b[72:], uint32(m.Level))
	le.PutUint32(b[76:], m.Layout)
	if m.Level != 0 {
		le.PutUint64(b[80:], size)
	}
	if m.Level != 1 {
		le.PutUint32(b[88:], 128)
	}
	le.PutUint32(b[92:], uint32(m.Places))
	le.PutUint64(b[128:], offset)
	le.PutUint64(b[136:], size)
	le.PutUint64(b[144:], uint64(at/512))
	le.PutUint32(b[160:], uint32(m.Number))
	b[168] = byte(m.Number + 1) // device_uuid
	le.PutUint64(b[192:], m.Made)
	le.PutUint64(b[200:], m.Events)
	if !m.Dirty {
		le.PutUint64(b[208:], 1<<64-1)
	}
	le.PutUint32(b[220:], uint32(len(m.Places1)))
	for i, place := range m.Places1 {
		le.PutUint16(b[256+2*i:], place)
	}
	Seal1(b)
}

// Seal1 makes the checksum of a superblock of version 1 right.
func Seal1(b []byte) {
	clear(b[216:220])
	n := 256 + 2*int(le.Uint32(b[220:])%1921)
	var sum uint64
	for i := 0; i+4 <= n; i += 4 {
		sum += uint64(le.Uint32(b[i:]))
	}
	if n%4 == 2 {
		sum += uint64(le.Uint16(b[n-2:]))
	}
	le.PutUint32(b[216:], uint32(sum)+uint32(sum>>32))
}

func (m Member) version0(b []byte) {
	put := func(i int, v uint32) { le.PutUint32(b[4*i:], v) }
	uuid, _ := hex.DecodeString(strings.ReplaceAll(m.UUID, ":", ""))
	put(0, 0xa92b4efc)
	put(2, 90)
	for i, word := range []int{5, 13, 14, 15} {
		put(word, binary.BigEndian.Uint32(uuid[4*i:]))
	}
	put(6, uint32(m.Made))
	put(7, uint32(m.Level))
	put(8, uint32(Offset("0.90", m.Bytes)/1024))
	put(9, uint32(len(m.Places1)))
	put(10, uint32(m.Places))
	put(11, m.Minor)
	put(32, uint32(m.Made))
	if !m.Dirty {
		put(33, 1)
	}
	put(34, uint32(m.Places))
	put(35, uint32(m.Places))
	put(39, uint32(m.Events))
	put(40, uint32(m.Events>>32))
	put(64, m.Layout)
	put(65, 64<<10)
	for i, place := range m.Places1 {
		d := 128 + 32*i
		put(d, uint32(i))
		put(d+1, 254)
		put(d+2, uint32(i))
		put(d+3, uint32(place))
		switch {
		case place < 0xff00:
			put(d+4, 1<<1|1<<2) // active, in sync
		case place == 0xfffe:
			put(d+4, 1|1<<3) // faulty, removed
		}
	}
	copy(b[4*992:4*1024], b[4*(128+32*m.Number):])
	Seal0(b)
}

// Seal0 makes the checksum of a superblock of version 0.90 right.
func Seal0(b []byte) {
	clear(b[4*38 : 4*39])
	var sum uint64
	for i := range 1024 {
		sum += uint64(le.Uint32(b[4*i:]))
	}
	le.PutUint32(b[4*38:], uint32(sum)+uint32(sum>>32))
}
