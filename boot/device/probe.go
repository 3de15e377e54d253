package device

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// A Super is what the beginning of a device says it holds.
type Super struct {
	Type  string // "ext4", "xfs", "btrfs", "f2fs", "squashfs", "erofs", "vfat", "crypto_LUKS", "LVM2_member", "bcache", "swap", "swsuspend"
	UUID  string
	Label string
	// Modules are what the kernel asks for by request_module when it mounts
	// this: quota formats, tables of Unicode.
	Modules []string
	// Devices is how many devices a btrfs is on, and DeviceID which of them
	// this is. 0 is any other file system.
	Devices, DeviceID uint64
}

// secondaries are the offsets at which a second LUKS2 header may stand,
// in bytes: LUKS2 On-Disk Format Specification 1.1.4, section 2.2.
var secondaries = []int64{0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000}

// Probe tells what is on a device; ok is false if nothing is recognized.
func Probe(r io.ReaderAt) (s Super, ok bool) {
	head := make([]byte, 68*1024) // reaches the btrfs superblock
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		// A small device or a bad block further on: what was read counts.
		head = head[:n]
	}

	head = head[:n]
	for _, probe := range []func([]byte) (Super, bool){bcache, luks, physicalVolume, ext, xfs, btrfs, f2fs, squashfs, erofs, swap} {
		if s, ok := probe(head); ok {
			return s, true
		}
	}

	if s, ok := fat(head, r); ok {
		return s, true
	}
	for _, off := range secondaries {
		var b [208]byte
		if _, err := r.ReadAt(b[:], off); err == nil && bytes.HasPrefix(b[:], []byte("SKUL\xba\xbe")) {
			return Super{Type: "crypto_LUKS", UUID: text(b[168:208]), Label: text(b[24:72])}, true
		}
	}

	return Super{}, false
}

// luks reads the binary header: UUID at 168, label at 24 (LUKS2).
func luks(b []byte) (Super, bool) {
	if len(b) < 208 || !bytes.HasPrefix(b, []byte("LUKS\xba\xbe")) {
		return Super{}, false
	}
	label := ""
	if binary.BigEndian.Uint16(b[6:]) == 2 {
		label = text(b[24:72])
	}
	return Super{Type: "crypto_LUKS", UUID: text(b[168:208]), Label: label}, true
}

// bcache reads struct cache_sb_disk of drivers/md/bcache/bcache_ondisk.h, of a
// backing or a caching device. What the first sectors held before counts for
// nothing: the volume begins behind it, and is in the cache, too.
func bcache(b []byte) (Super, bool) {
	const at = 4096
	if len(b) < at+104 || string(b[at+24:at+40]) != "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81" {
		return Super{}, false
	}
	return Super{Type: "bcache", UUID: uuid(b[at+40 : at+56]), Label: text(b[at+72 : at+104])}, true
}

// physicalVolume finds lvm2's label, which is in one of the first four
// sectors (struct label_header in lib/format_text/layout.h), and behind it
// the UUID. What a file system left in the sectors around counts for less,
// as blkid(8) has it.
func physicalVolume(b []byte) (Super, bool) {
	for at := 0; at < 4*512 && len(b) >= at+64; at += 512 {
		if b := b[at:]; bytes.HasPrefix(b, []byte("LABELONE")) && string(b[24:32]) == "LVM2 001" {
			return Super{Type: "LVM2_member", UUID: text(b[32:64])}, true
		}
	}
	return Super{}, false
}

// ext reads struct ext4_super_block of fs/ext4/ext4.h, at byte 1024.
func ext(b []byte) (Super, bool) {
	if len(b) < 2048 || binary.LittleEndian.Uint16(b[1024+56:]) != 0xef53 {
		return Super{}, false
	}
	sb := b[1024:]
	compat, incompat := binary.LittleEndian.Uint32(sb[92:]), binary.LittleEndian.Uint32(sb[96:])
	kind := "ext2"
	switch {
	case incompat&^0x0016 != 0: // beyond filetype, recover, meta_bg: extents, 64bit, …
		kind = "ext4"
	case compat&0x0004 != 0: // has_journal
		kind = "ext3"
	}
	ro := binary.LittleEndian.Uint32(sb[100:])
	return Super{Type: kind, UUID: uuid(sb[104:120]), Label: text(sb[120:136]), Modules: helpers(ro&0x0100 != 0, incompat&0x20000 != 0)}, true // quota, casefold
}

func xfs(b []byte) (Super, bool) {
	if len(b) < 512 || !bytes.HasPrefix(b, []byte("XFSB")) {
		return Super{}, false
	}
	return Super{Type: "xfs", UUID: uuid(b[32:48]), Label: text(b[108:120])}, true
}

// btrfs reads struct btrfs_super_block of include/uapi/linux/btrfs_tree.h.
func btrfs(b []byte) (Super, bool) {
	const at = 64 * 1024
	if len(b) < at+0x12b+256 || string(b[at+64:at+72]) != "_BHRfS_M" {
		return Super{}, false
	}
	le := binary.LittleEndian
	return Super{
		Type: "btrfs", UUID: uuid(b[at+32 : at+48]), Label: text(b[at+0x12b : at+0x12b+256]),
		Devices: le.Uint64(b[at+0x88:]), DeviceID: le.Uint64(b[at+0xc9:]),
	}, true
}

func f2fs(b []byte) (Super, bool) {
	const features = 1024 + 2180 // struct f2fs_super_block, linux/f2fs_fs.h
	if len(b) < features+4 || binary.LittleEndian.Uint32(b[1024:]) != 0xf2f52010 {
		return Super{}, false
	}
	has := binary.LittleEndian.Uint32(b[features:])
	return Super{Type: "f2fs", UUID: uuid(b[1024+108 : 1024+124]), Modules: helpers(has&0x0080 != 0, has&0x1000 != 0)}, true // quota_ino, casefold
}

func helpers(quota, casefold bool) (modules []string) {
	if quota {
		modules = append(modules, "quota_v2")
	}
	if casefold {
		modules = append(modules, "utf8data")
	}
	return modules
}

func squashfs(b []byte) (Super, bool) {
	return Super{Type: "squashfs"}, len(b) >= 96 && bytes.HasPrefix(b, []byte("hsqs"))
}

func erofs(b []byte) (Super, bool) {
	if len(b) < 1152 || binary.LittleEndian.Uint32(b[1024:]) != 0xe0f5e1e2 {
		return Super{}, false
	}
	return Super{Type: "erofs", UUID: uuid(b[1024+48 : 1024+64]), Label: text(b[1024+64 : 1024+80])}, true
}

// swap reads union swap_header of linux/swap.h: a signature at the end of the
// first page, of 4 to 64 KiB, which says swsuspend while a hibernated system
// is in it (HIBERNATE_SIG in kernel/power/swap.c).
func swap(b []byte) (Super, bool) {
	for page := 4096; page <= 64<<10 && len(b) >= page; page *= 2 {
		kind := map[string]string{"SWAPSPACE2": "swap", "S1SUSPEND\x00": "swsuspend"}[string(b[page-10:page])]
		if kind != "" {
			return Super{Type: kind, UUID: uuid(b[1024+12 : 1024+28]), Label: text(b[1024+28 : 1024+44])}, true
		}
	}
	return Super{}, false
}

func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// text is a fixed field up to its first zero byte.
func text(b []byte) string {
	before, _, _ := strings.Cut(string(b), "\x00")
	return before
}
