package device

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// PartUUID reads the PARTUUID of partition n (from 1) from its whole
// disk: the GPT entry's unique GUID (UEFI 2.10, section 5.3.3), or the
// MBR's disk signature and the number. Kernels before 6.7 do not tell it.
func PartUUID(disk io.ReaderAt, n int) (string, error) {
	for _, sector := range []int64{512, 4096} {
		head := make([]byte, 92)
		if _, err := disk.ReadAt(head, sector); err != nil {
			return "", fmt.Errorf("reading the partition table: %w", err)
		}

		if !bytes.HasPrefix(head, []byte("EFI PART")) {
			continue
		}
		first := binary.LittleEndian.Uint64(head[72:])
		count := binary.LittleEndian.Uint32(head[80:])
		size := binary.LittleEndian.Uint32(head[84:])
		if n < 1 || uint32(n) > min(count, 1024) || size < 128 || size > 4096 || first > 1<<40 {
			return "", fmt.Errorf("reading the partition table: it has no entry %d", n)
		}

		entry := make([]byte, 128)
		if _, err := disk.ReadAt(entry, int64(first)*sector+int64(n-1)*int64(size)); err != nil {
			return "", fmt.Errorf("reading the partition table: %w", err)
		}
		return guid(entry[16:32]), nil
	}

	mbr := make([]byte, 512)
	if _, err := disk.ReadAt(mbr, 0); err != nil {
		return "", fmt.Errorf("reading the partition table: %w", err)
	}

	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return "", fmt.Errorf("reading the partition table: there is none")
	}
	return fmt.Sprintf("%08x-%02x", binary.LittleEndian.Uint32(mbr[440:]), n), nil
}

// guid prints a GUID as UEFI stores it: three little-endian fields first
// (UEFI 2.10, appendix A).
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
