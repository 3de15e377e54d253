package device

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// A fatLayout is what of a FAT boot sector the label depends on: Microsoft
// Extensible Firmware Initiative FAT32 File System Specification 1.03.
type fatLayout struct {
	sector, cluster     int64 // bytes
	reserved, fats      int64 // sectors before the first FAT; number of FATs
	fatSectors, entries int64 // of each FAT; of the root folder, 0 in FAT32
	rootCluster         int64
}

// fat reads a FAT boot sector. The label is that of the root folder, as
// blkid(8) has it: Windows writes only that one.
func fat(b []byte, r io.ReaderAt) (Super, bool) {
	if len(b) < 512 || b[510] != 0x55 || b[511] != 0xaa {
		return Super{}, false
	}
	at := 38 // of the extended boot record in FAT12 and FAT16
	if string(b[82:87]) == "FAT32" {
		at = 66
	} else if string(b[54:57]) != "FAT" {
		return Super{}, false
	}
	if b[at] != 0x29 {
		return Super{}, false
	}

	le := binary.LittleEndian
	l := fatLayout{
		sector: int64(le.Uint16(b[11:])), cluster: int64(b[13]) * int64(le.Uint16(b[11:])), reserved: int64(le.Uint16(b[14:])), fats: int64(b[16]),
		fatSectors: int64(le.Uint16(b[22:])), entries: int64(le.Uint16(b[17:])),
	}
	if at == 66 {
		l.fatSectors, l.entries, l.rootCluster = int64(le.Uint32(b[36:])), 0, int64(le.Uint32(b[44:]))
	}
	if l.sector < 512 || l.sector > 4096 || l.sector&(l.sector-1) != 0 || l.cluster == 0 || l.fats == 0 {
		return Super{}, false
	}

	s := Super{Type: "vfat", UUID: fmt.Sprintf("%04X-%04X", le.Uint16(b[at+3:]), le.Uint16(b[at+1:])), Label: l.label(r)}
	if s.Label == "" {
		s.Label = fatName(b[at+5 : at+16])
	}
	return s, true
}

// maxFolder bounds what is read of a root folder, in bytes. The label is
// its first entry in practice.
const maxFolder = 32 << 10

// label is the entry of the root folder that has the attribute VOLUME_ID
// alone, "" if there is none.
func (l fatLayout) label(r io.ReaderAt) string {
	start := (l.reserved + l.fats*l.fatSectors) * l.sector
	size := l.entries * 32
	if l.rootCluster >= 2 {
		start += (l.rootCluster - 2) * l.cluster
		size = l.cluster
	}
	folder := make([]byte, min(size, maxFolder))
	n, _ := r.ReadAt(folder, start) // what there is of it counts
	for entry := folder[:n]; len(entry) >= 32 && entry[0] != 0; entry = entry[32:] {
		if entry[0] != 0xe5 && entry[11]&0x3f == 0x08 {
			return fatName(entry[:11])
		}
	}
	return ""
}

// fatName is a name without its padding, "" if it stands for none.
func fatName(b []byte) string {
	name := strings.TrimRight(string(bytes.Trim(b, "\x00")), " ")
	if name == "NO NAME" {
		return ""
	}
	return name
}
