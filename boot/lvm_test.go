package boot_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"latchkey/boot/boottest"
	"latchkey/unlock/lvm/lvmtest"
	"latchkey/unlock/md/mdtest"
)

// onLVM makes the two volumes of a machine physical volumes of one group,
// with this metadata; an ext4 with a UUID is in my-vg/root.
func onLVM(root, text string, more ...func(*boottest.Machine)) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		addData(m, false, "kms")
		one, two := lvmtest.PV{ID: lvmtest.PV0, Text: text}.Bytes(), lvmtest.PV{ID: lvmtest.PV1, Text: text}.Bytes()
		super := one[2048*512+1024:] // the first extent
		binary.LittleEndian.PutUint16(super[56:], 0xef53)
		binary.LittleEndian.PutUint32(super[96:], 0x40)
		copy(super[104:], "\x0c\x4f\x3a\x52\x9b\x0e\x4f\x8d\x8e\x57\x2a\x1f\x6f\x1b\x9d\x10")
		copy(super[120:], "system")
		m.Inside = map[string][]byte{"root": one, "data": two}
		m.Plan.Root.Device = root
		for _, f := range more {
			f(m)
		}
	}
}

// TestLVM boots roots that are logical volumes in two LUKS volumes, and
// fails with one line where it must.
func TestLVM(t *testing.T) {
	const mapped = "map my--vg-root read-only=false [{0 40 linear 253:0 2048} {40 24 linear 253:1 2064}]"
	good := []string{"mount /dev/mapper/my--vg-root on /sysroot type ext4 (ro)"}
	cmdline := func(s string) func(*boottest.Machine) { return func(m *boottest.Machine) { m.Cmdline = s } }
	optional := func(m *boottest.Machine) { m.Plan.Volumes[1].NoFail, m.Disks = true, m.Disks[:1] }
	thin := strings.Replace(lvmtest.Root, `type = "striped"`, `type = "thin"`, 1)
	for _, r := range []row{
		{name: "by path", change: onLVM("/dev/my-vg/root", lvmtest.Root), end: "root", log: good, never: []string{"map my--vg-data"}},
		{name: "by mapping", change: onLVM("/dev/mapper/my--vg-root", lvmtest.Root), end: "root", log: good},
		{name: "by UUID", change: onLVM("UUID=0c4f3a52-9b0e-4f8d-8e57-2a1f6f1b9d10", lvmtest.Root), end: "root", log: good},
		{name: "by LABEL", change: onLVM("LABEL=system", lvmtest.Root), end: "root", log: good},
		{name: "by udev's link", change: onLVM("/dev/disk/by-uuid/0c4f3a52-9b0e-4f8d-8e57-2a1f6f1b9d10", lvmtest.Root), end: "root", log: good},
		{name: "named by the command line", change: onLVM("", lvmtest.Root, cmdline("root=/dev/my-vg/root")), end: "root", log: good},
		{name: "named twice", change: onLVM("/dev/my-vg/root", lvmtest.Root, cmdline("rd.lvm.lv=my-vg/root")), end: "root", log: good, never: []string{"busy"}},
		{name: "its group", change: onLVM("/dev/my-vg/root", lvmtest.Root, cmdline("rd.lvm.vg=my-vg")), end: "root", log: append(good, "map my--vg-data read-only=true [{0 32 striped 2 4 253:0 2088 253:1 2048}]")},
		{name: "with another one", change: onLVM("/dev/my-vg/root", lvmtest.Root, cmdline("rd.lvm.lv=my-vg/data")), end: "root", log: append(good, "map my--vg-data")},
		{
			name: "with one that is not there", change: onLVM("/dev/my-vg/root", lvmtest.Root, cmdline("rd.lvm.lv=my-vg/swap")), end: "root",
			log: append(good, "lvm-missing: the command line names my-vg/swap, which is not in the opened volumes: root (LVM), data (LVM), /dev/my-vg/root, /dev/my-vg/data"),
		},
		{name: "LVM is off, and the image says otherwise", change: onLVM("/dev/my-vg/root", lvmtest.Root, cmdline("rd.lvm=0")), end: "root", log: append(good, "the command line is wrong; using the image's root")},
		{name: "LVM is off, and another one is named", change: onLVM("/dev/my-vg/root", lvmtest.Root, cmdline("rd.lvm=0 rd.lvm.lv=my-vg/data")), end: "root", log: good, never: []string{"map my--vg-data"}},
		{
			name: "a wrong one on the command line", change: onLVM("/dev/my-vg/root", lvmtest.Root, cmdline("root=/dev/my-vg/nothing")), end: "root",
			log: append(good, "root-not-in-plan: root=/dev/my-vg/nothing is no logical volume in the opened volumes: root (LVM), data (LVM), /dev/my-vg/root, /dev/my-vg/data"),
		},
		{name: "on a read-only volume", change: onLVM("/dev/my-vg/root", lvmtest.Root, func(m *boottest.Machine) { m.Plan.Volumes[1].Options = []string{"read-only"} }), end: "root", log: []string{"map my--vg-root read-only=true"}},

		{
			name: "no logical volume is named", change: onLVM("", lvmtest.Root), end: "reboot",
			log: []string{"root-unusable: root=/dev/mapper/root holds no file system but LVM: name a logical volume in root.device or root=; root (LVM), data (LVM), /dev/my-vg/root, /dev/my-vg/data"},
		},
		{
			name: "a physical volume is missing", change: onLVM("/dev/my-vg/root", lvmtest.Root, optional), end: "reboot",
			log: []string{`lvm-missing: logical volume my-vg/root: its physical volume ` + lvmtest.PV1 + ` is in none of the opened volumes (it was on "/dev/mapper/two")`}, never: []string{"map my--vg"},
		},
		{
			name: "a physical volume is missing, and the root has a UUID", change: onLVM("UUID=0c4f3a52-9b0e-4f8d-8e57-2a1f6f1b9d10", lvmtest.Root, optional), end: "reboot",
			log: []string{"lvm-missing: root=UUID=0c4f3a52-9b0e-4f8d-8e57-2a1f6f1b9d10 is not in the opened volumes as far as they can be read; logical volume my-vg/root: its physical volume"},
		},
		{name: "another kind", change: onLVM("/dev/my-vg/root", thin), end: "reboot", log: []string{`lvm-unsupported: logical volume my-vg/root: it is of type "thin": that needs lvm2 itself and is not supported yet`}},
		{name: "two groups of one name", change: onLVM("/dev/my-vg/root", lvmtest.Root, func(m *boottest.Machine) {
			m.Inside["data"] = lvmtest.PV{ID: lvmtest.PV1, Text: strings.Replace(lvmtest.Root, "Ym14S2", "ZZ14S2", 1)}.Bytes()
		}), end: "reboot", log: []string{"lvm-names: logical volume my-vg/root: two volume groups have the name my-vg"}, never: []string{"lvconvert"}},
		{name: "damaged", change: onLVM("/dev/my-vg/root", strings.Replace(lvmtest.Root, "seqno", "x", 1)), end: "reboot", log: []string{"lvm-damaged: root=/dev/my-vg/root is not there, and LVM metadata in root: volume group my-vg: seqno is no number"}},
		{name: "a broken label", change: onLVM("/dev/my-vg/root", lvmtest.Root, func(m *boottest.Machine) { m.Inside["data"][600]++ }), end: "reboot", log: []string{"lvm-damaged: data: damaged LVM metadata", "lvm-missing: "}},
		{name: "a member of an array", change: onLVM("/dev/my-vg/root", lvmtest.Root, func(m *boottest.Machine) {
			half := mdtest.Member{Version: "1.0", Level: 1, Places: 2, Bytes: 64 * 512, Data: labeled("half")}.Device()
			copy(m.Inside["data"][2064*512:], half[copy(m.Inside["root"][2048*512:][:40*512], half):])
		}), end: "reboot", log: []string{"root-unusable: my-vg/root holds a member of an array, and no array on logical volumes is run"}},
		{name: "no file system", change: onLVM("/dev/my-vg/data", lvmtest.Root), end: "reboot", log: []string{"root-unusable: no file system is recognized in my-vg/data"}},
		{
			name: "outside of the volumes", change: func(m *boottest.Machine) {
				m.Disks = append(m.Disks, &boottest.Disk{Name: "vdc", Bytes: lvmtest.PV{ID: lvmtest.PV0, Text: lvmtest.Root}.Bytes()})
				m.Plan.Root.Device = "/dev/my-vg/root"
			}, end: "reboot", log: []string{"root-not-in-plan: root=/dev/my-vg/root is no logical volume in the opened volumes: root (ext4"},
		},
	} {
		if r.sources = onlyKMS; r.end == "root" && r.log[0] == good[0] {
			r.log = append(r.log, mapped)
		}
		r.boot(t)
	}
}
