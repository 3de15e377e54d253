package luks2

import (
	"bytes"
	"io"
)

// A sign tells what a device holds, by bytes at an offset. A negative offset
// is from the device's end.
type sign struct {
	at   int64
	text string
	what string
}

// signs are those of libblkid (util-linux, libblkid/src): what an installer
// or an administrator may have put there. They only give a name to what is
// not empty: what none of them knows is not empty, too.
var signs = []sign{
	{0, "LUKS\xba\xbe", "a LUKS header"},
	{512, "EFI PART", "a partition table (GPT)"},
	{-512, "EFI PART", "the second copy of a partition table (GPT)"},
	{512 + 24, "LVM2 001", "a physical volume of LVM"},
	{24, "LVM2 001", "a physical volume of LVM"},
	{1080, "\x53\xef", "a file system: ext2, ext3 or ext4"},
	{0, "XFSB", "a file system: xfs"},
	{0x10040, "_BHRfS_M", "a file system: btrfs"},
	{1024, "\x10\x20\xf5\xf2", "a file system: f2fs"},
	{0, "hsqs", "a file system: squashfs"},
	{1024, "\xe2\xe1\xf5\xe0", "a file system: erofs"},
	{3, "NTFS    ", "a file system: ntfs"},
	{3, "EXFAT   ", "a file system: exfat"},
	{3, "-FVE-FS-", "a volume of BitLocker"},
	{82, "FAT32", "a file system: vfat"},
	{54, "FAT", "a file system: vfat"},
	{32769, "CD001", "a file system: iso9660"},
	{4086, "SWAPSPACE2", "swap space"},
	{65526, "SWAPSPACE2", "swap space"},
	{4096, "\xfc\x4e\x2b\xa9", "a member of an array (md 1.2)"},
	{0, "\xfc\x4e\x2b\xa9", "a member of an array (md 1.1)"},
	{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a device of bcache"},
	{510, "\x55\xaa", "a partition table or a boot sector (MBR)"},
}

// Where a member of an array or a pool lies from the end of a device: md 1.0
// 8 KiB before it, aligned to 4 KiB, md 0.90 64 KiB before the last 64 KiB
// (Documentation/admin-guide/md.rst); ZFS begins its first uberblocks at 128
// KiB.
const (
	mdMagic  = "\xfc\x4e\x2b\xa9"
	zfsMagic = "\x0c\xb1\xba\x00\x00\x00\x00\x00"
)

// whatIs names what a device holds, "" if it has no sign that is known.
func whatIs(r io.ReaderAt, size int64) string {
	for _, s := range signs {
		if s.at < 0 {
			s.at += size
		}
		if has(r, s.at, s.text) {
			return s.what
		}
	}
	for _, at := range []int64{(size - 8<<10) &^ 4095, size&^(64<<10-1) - 64<<10} {
		if has(r, at, mdMagic) {
			return "a member of an array (md)"
		}
	}
	for at := int64(128 << 10); at < 256<<10; at += 1 << 10 {
		if has(r, at, zfsMagic) {
			return "a member of a pool (ZFS)"
		}
	}
	return ""
}

func has(r io.ReaderAt, at int64, text string) bool {
	b := make([]byte, len(text))
	return at >= 0 && readFull(r, b, at) == nil && bytes.Equal(b, []byte(text))
}
