package boot_test

import (
	"encoding/binary"
	"testing"

	"latchkey/boot/boottest"
	"latchkey/unlock/lvm/lvmtest"
)

// superBtrfs is the superblock of a device of a btrfs.
func superBtrfs(b []byte, uuid byte, devices, id uint64) []byte {
	sb := b[64<<10:]
	sb[32] = uuid
	copy(sb[64:], "_BHRfS_M")
	binary.LittleEndian.PutUint64(sb[0x88:], devices)
	binary.LittleEndian.PutUint64(sb[0xc9:], id)
	return b
}

// spread has a btrfs on the two volumes of a machine.
func spread(devices, one, two uint64, more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		addData(m, false, "kms")
		m.Inside = map[string][]byte{"root": superBtrfs(make([]byte, 1<<20), 1, devices, one), "data": superBtrfs(make([]byte, 1<<20), 1, devices, two)}
		for _, f := range more {
			f(m)
		}
	}
}

// TestSpread boots roots that are on several devices, and fails with one line
// where one is missing.
func TestSpread(t *testing.T) {
	const uuid = "01000000-0000-0000-0000-000000000000"
	mounted := "mount /dev/mapper/root on /sysroot type btrfs (ro)"
	joined := []string{"join /dev/mapper/root\n", "join /dev/mapper/data\n", mounted}
	optional := func(m *boottest.Machine) { m.Plan.Volumes[1].NoFail, m.Disks = true, m.Disks[:1] }
	flags := func(text string) func(*boottest.Machine) {
		return func(m *boottest.Machine) { m.Plan.Root.Flags = text }
	}
	for _, r := range []row{
		{name: "on two volumes", change: spread(2, 1, 2), end: "root", log: joined, never: []string{"btrfs-devices"}},
		{name: "on one volume", change: spread(1, 1, 1), end: "root", log: joined[2:], never: []string{"join"}},
		{name: "another file system beside", change: spread(2, 1, 2, func(m *boottest.Machine) { superBtrfs(m.Inside["data"], 2, 2, 2) }), end: "reboot", log: []string{"btrfs-devices: the file system " + uuid + " is on 2 devices, and 1 of them in opened volumes: root (btrfs UUID="}, never: []string{"join"}},
		{name: "a volume is closed", change: spread(2, 1, 2, optional), end: "reboot", log: []string{"btrfs-devices: the file system " + uuid + " is on 2 devices, and 1 of them in opened volumes: root (btrfs UUID=" + uuid + " LABEL=)"}, never: []string{"join"}},
		{name: "a volume is closed, and may be", change: spread(2, 1, 2, optional, flags("noatime,degraded")), end: "root", log: []string{"its flags say degraded", "join /dev/mapper/root\n"}, never: []string{"join /dev/mapper/data"}},
		{name: "no flag of this name", change: spread(2, 1, 2, optional, flags("nodegraded")), end: "reboot", log: []string{"btrfs-devices: "}},
		{name: "a copy", change: spread(2, 1, 1), end: "reboot", log: []string{"btrfs-devices: the file system " + uuid + ": root and data are both its device 1: one is a copy"}, never: []string{"join"}},
		{name: "more than it says", change: spread(3, 1, 2), end: "reboot", log: []string{"is on 3 devices, and 2 of them in opened volumes"}, never: []string{"join"}},
		{name: "more devices than a number holds", change: spread(1<<64-1, 1, 1<<63), end: "reboot", log: []string{"is on 18446744073709551615 devices"}, never: []string{"join"}},
		{name: "in a logical volume and beside it", change: spread(2, 1, 2, func(m *boottest.Machine) {
			pv := lvmtest.PV{ID: lvmtest.PV0, Text: onePV}.Bytes()
			superBtrfs(pv[2048*512:], 1, 2, 2)
			m.Inside["data"] = pv
		}), end: "root", log: []string{"map my--vg-root", "join /dev/mapper/root\n", "join /dev/mapper/my--vg-root\n", mounted}},
	} {
		r.sources = onlyKMS
		r.boot(t)
	}
}

// onePV is a group of one physical volume, with a logical volume of 256 KiB.
const onePV = `my-vg {
id = "Ym14S2-KIe2-2fTd-Y2KP-xlK1-6KBg-ZJd6Ph"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 64
physical_volumes { pv0 {
id = "` + lvmtest.PV0 + `"
status = ["ALLOCATABLE"]
flags = []
dev_size = 4096
pe_start = 2048
pe_count = 16
} }
logical_volumes { root {
id = "ZrfdLn-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
segment_count = 1
segment1 {
start_extent = 0
extent_count = 8
type = "striped"
stripe_count = 1
stripes = ["pv0", 0]
} } }
}
contents = "Text Format Volume Group"
version = 1
`
