package qemutests

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"latchkey/unlock/lvm/lvmtest"
	"latchkey/unlock/md/mdtest"
)

// A layer is a way to the same root, and how long its boots took, in seconds.
type layer struct {
	name, device string
	disks        []string
	aim          float64 // ms more than without it
	took         []float64
	steps        string // of the last boot
}

// TestBenchLayers measures what layers above and below a volume cost, beside
// a plain one in the same run. A key file in the image opens all: no server
// is waited for. It runs with BENCH=1 (make bench) and asserts nothing about
// time.
func TestBenchLayers(t *testing.T) {
	b, rounds := newBench(t, 5)
	b.makeLayers()
	layers := []*layer{
		{name: "plain", device: "/dev/mapper/root", disks: []string{"root.img"}},
		{name: "LVM on LUKS", device: "/dev/my-vg/root", disks: []string{"lvm.img"}, aim: 40},
		{name: "LUKS on md RAID1", device: "/dev/mapper/root", disks: []string{"one.img", "two.img"}, aim: 60},
	}
	for i, l := range layers {
		b.sh(fmt.Sprintf(`printf 'root: {fstype: ext4, device: %s}\nmodules: {exclude: [xfs, btrfs]}\non-fail: {action: poweroff, after: 0s}\nvolumes: [{uuid: %s, name: root, sources: [key-file: {path: %s}]}]\n' >layer.yaml
%s/latchkey image build --config layer.yaml --modules %s --microcode "" --output layer%d.img >/dev/null`, l.device, benchUUID, filepath.Join(b.dir, "key"), b.s.bin, b.s.modules, i))
	}

	for range rounds {
		for i, l := range layers {
			b.disks = l.disks
			s, _ := b.boot(fmt.Sprintf("layer%d.img", i))
			l.took, l.steps = append(l.took, s), b.steps
		}
	}
	plain := median(layers[0].took)
	fmt.Printf("init's start to the real root's start by a key file, median of %d: plain LUKS root %.3f s (load %s)\n", rounds, plain, load())
	fmt.Printf("its last, step by step: %s\n", layers[0].steps)
	for _, l := range layers[1:] {
		m := median(l.took)
		fmt.Printf("%s: %.3f s, %+.0f ms (aim %.0f), ratio %.2f\n", l.name, m, (m-plain)*1000, l.aim, m/plain)
		fmt.Printf("its last, step by step: %s\n", l.steps)
	}
}

// onePV is a group of one physical volume, on which the root is linear.
const onePV = `my-vg {
id = "Ym14S2-KIe2-2fTd-Y2KP-xlK1-6KBg-ZJd6Ph"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8192
physical_volumes { pv0 { id = "` + lvmtest.PV0 + `" status = ["ALLOCATABLE"] flags = [] pe_start = 2048 pe_count = 16 } }
logical_volumes { root {
id = "ZrfdLn-N4Of-0Krp-qFr9-Y80h-eGlz-Sd2fKH"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
segment_count = 1
segment1 { start_extent = 0 extent_count = 16 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
} }
}
contents = "Text Format Volume Group"
version = 1
`

// makeLayers makes the disks: the root in a logical volume in a volume, and
// the halves of a mirror that holds the plain volume.
func (b *bench) makeLayers() {
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			b.t.Fatal(err)
		}
		return data
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	pv := lvmtest.PV{ID: lvmtest.PV0, Text: onePV, SizeBytes: 66 << 20}.Bytes()
	copy(pv[2048*512:], read("root.ext4"))
	write("pv.raw", pv)
	b.sh(b.s.bin + `/latchkey volume encrypt --kdf pbkdf2 --key-file key --uuid ` + benchUUID + ` pv.raw lvm.img`)
	for i, name := range []string{"one.img", "two.img"} {
		write(name, mdtest.Member{Version: "1.0", Name: "till:boot", Level: 1, Places: 2, Number: i, Events: 17, Made: 1700000000, Data: read("root.img")}.Device())
	}
}
