package initramfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

// elfFor is elf for another machine.
func elfFor(machine uint16, modinfo string) []byte {
	b := elf(modinfo, false)
	binary.LittleEndian.PutUint16(b[18:], machine)
	return b
}

// add puts a module into the tree, with what depmod would say of it.
func (tr tree) add(file string, data []byte, deps string, aliases ...string) {
	tr.t.Helper()
	tr.write("modules/6.1/"+file, data)
	tr.more("modules/6.1/modules.dep", file+": "+deps+"\n")
	for _, a := range aliases {
		tr.more("modules/6.1/modules.alias", "alias "+a+" "+plan.ModuleName(file)+"\n")
	}
}

func (tr tree) more(name, text string) {
	tr.t.Helper()
	f, err := os.OpenFile(filepath.Join(tr.dir, name), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		tr.t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		tr.t.Fatal(err)
	}
}

// index builds an image and reads its index of modules.
func (tr tree) index(config string) *plan.Modules {
	tr.t.Helper()
	_, image, err := tr.build(config)
	if err != nil {
		tr.t.Fatal(err)
	}
	return tr.indexOf(image)
}

func (tr tree) indexOf(image []byte) *plan.Modules {
	tr.t.Helper()
	entries, err := initramfs.List(image)
	if err != nil {
		tr.t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e initramfs.Entry) bool { return e.Name == "modules.idx" })
	index, err := plan.DecodeModules(entries[i].Data)
	if err != nil {
		tr.t.Fatal(err)
	}
	return index
}

// TestKeyboards is faults/node.md H4: an image in which somebody may type
// has the drivers of keyboards, another has not.
func TestKeyboards(t *testing.T) {
	for sources, want := range map[string]bool{"kms": false, "kms, prompt": true, "prompt": true} {
		tr := newTree(t)
		files := []string{"hid/usbhid/usbhid", "hid/hid-generic", "hid/hid-apple", "hid/i2c-hid/i2c-hid-acpi", "input/keyboard/atkbd", "input/serio/i8042"}
		for _, f := range files {
			tr.add("kernel/drivers/"+f+".ko", elf("", false), "")
		}
		index := tr.index(strings.Replace(config, "555555555555}", "555555555555, sources: ["+sources+"]}", 1))
		for _, f := range files {
			if got := index.Find(filepath.Base(f)) >= 0; got != want {
				t.Errorf("sources [%s]: %s in the image: %v, want %v", sources, f, got, want)
			}
		}
	}
}

// TestFileSystems: an image for any machine has every file system that a root
// may have.
func TestFileSystems(t *testing.T) {
	tr := newTree(t)
	all := []string{"btrfs", "erofs", "ext4", "f2fs", "squashfs", "xfs"}
	for _, fs := range all {
		if fs != "xfs" { // the tree has it
			tr.add("kernel/fs/"+fs+"/"+fs+".ko", elf("", false), "")
		}
	}
	tr.write("modules/6.1/modules.builtin", nil)
	index := tr.index(config)
	for _, fs := range all {
		if index.Find(fs) < 0 {
			t.Errorf("%s is not in the universal image", fs)
		}
	}
}

// TestOtherMachine is faults/field.md P13.
func TestOtherMachine(t *testing.T) {
	tr := newTree(t)
	tr.write("init", elfFor(183, ""))
	_, _, err := tr.build(config)
	if err == nil || !strings.Contains(err.Error(), "arm64 (EM_AARCH64)") || !strings.Contains(err.Error(), "amd64 (EM_X86_64)") {
		t.Errorf("Build with an arm64 init and amd64 modules = %v, want an error that names both", err)
	}
}

// TestBoards is faults/field.md P14: what SD cards, USB and SPI TPMs of a
// board wait for is in its universal image, and not in that of a PC, which
// alone has microcode.
func TestBoards(t *testing.T) {
	files := []string{
		"regulator/fixed", "regulator/gpio-regulator", "reset/reset-raspberrypi", "spi/spi-bcm2835", "i2c/busses/i2c-bcm2835", "mfd/axp20x", "gpio/gpio-x",
		"clk/clk-x", "pinctrl/pinctrl-x", "char/tpm/tpm_tis_spi", "phy/phy-x",
	}
	for machine, want := range map[uint16]bool{183: true, 62: false} {
		tr := newTree(t)
		files0, err := filepath.Glob(filepath.Join(tr.dir, "modules/6.1/kernel/*/*.ko"))
		more, err2 := filepath.Glob(filepath.Join(tr.dir, "modules/6.1/kernel/*/*/*.ko"))
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		for _, f := range append(files0, more...) {
			rel, _ := filepath.Rel(tr.dir, f)
			tr.write(rel, elfFor(machine, ""))
		}
		tr.write("init", elfFor(machine, ""))
		for _, f := range files {
			tr.add("kernel/drivers/"+f+".ko", elfFor(machine, ""), "")
		}
		_, image, err := tr.build(config)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(image, []byte("kernel/x86/microcode")); got == want {
			t.Errorf("machine %d: microcode of x86 in the image: %v", machine, got)
		}
		index := tr.indexOf(image)
		for _, f := range files {
			if got := index.Find(filepath.Base(f)) >= 0; got != want && !strings.Contains(f, "tpm") {
				t.Errorf("machine %d: %s in the image: %v, want %v", machine, f, got, want)
			}
		}
		if index.Find("tpm_tis_spi") < 0 {
			t.Errorf("machine %d: no tpm_tis_spi", machine)
		}
	}
}

// TestOutOfTree is issue 8 item 8: modules of updates/, extra/ and
// weak-updates/, and those that override in-tree ones.
func TestOutOfTree(t *testing.T) {
	tr := newTree(t)
	tr.add("updates/drivers/net/ethernet/intel/igb/igb.ko", elf("", false), "", "pci:v00008086d00001521sv*sd*bc*sc*i*")
	tr.add("extra/fastnic.ko", elf("", false), "", "pci:v00001234d*sv*sd*bc*sc*i*")
	tr.add("updates/dkms/nvidia.ko", elf("", false), "", "pci:v000010DEd*sv*sd*bc03sc00i00*")
	tr.add("weak-updates/lpfc/lpfc.ko", elf("", false), "", "pci:v000010DFd*sv*sd*bc*sc*i*")
	tr.add("kernel/drivers/gpu/drm/drm.ko", elf("", false), "")
	tr.add("extra/gpu.ko", elf("", false), "kernel/drivers/gpu/drm/drm.ko", "pci:v00005678d*sv*sd*bc*sc*i*")
	tr.add("extra/helper.ko", elf("", false), "")
	tr.add("updates/virtio_net.ko", elf("license=updated\x00", false), "")

	index := tr.index(config)
	for name, want := range map[string]string{
		"igb": "/updates/drivers/net/ethernet/intel/igb/", "fastnic": "/extra/", "lpfc": "/weak-updates/", "virtio_net": "/updates/",
		"nvidia": "", "gpu": "", "helper": "",
	} {
		i := index.Find(name)
		if want == "" && i >= 0 || want != "" && (i < 0 || !strings.Contains(index.List[i].Path, want)) {
			t.Errorf("%s: module %d of %v, want it below %q", name, i, index.List, want)
		}
	}
}

// TestPHYs: what a board's link driver asks for by request_module is loaded
// before it.
func TestPHYs(t *testing.T) {
	tr := newTree(t)
	tr.add("kernel/drivers/net/phy/libphy.ko", elf("", false), "")
	tr.add("kernel/drivers/net/phy/realtek.ko", elf("", false), "kernel/drivers/net/phy/libphy.ko", "mdio:00000000000111001100100100010110")
	tr.add("kernel/drivers/net/ethernet/amac.ko", elf("", false), "kernel/drivers/net/phy/libphy.ko", "of:N*T*Cacme,mac")
	tr.add("kernel/drivers/net/ethernet/pcinic.ko", elf("", false), "kernel/drivers/net/phy/libphy.ko", "pci:v1*")
	index := tr.index(config)
	phy := index.Find("realtek")
	if m := index.List[index.Find("amac")]; !slices.Contains(m.Soft, phy) {
		t.Errorf("the board's link waits for %v, want the PHY %d among them", m.Soft, phy)
	}
	if m := index.List[index.Find("pcinic")]; slices.Contains(m.Soft, phy) {
		t.Errorf("a PCI link waits for all PHYs: %v", m.Soft)
	}
}

// TestModprobe is faults/node.md M4: what the administrator of the host says
// of modules holds in an image for that host.
func TestModprobe(t *testing.T) {
	tr := newTree(t)
	tr.write("etc/a.conf", []byte("# x\noptions virtio-net napi_tx=0 \\\n  csum=0\nblacklist virtio_net\n"))
	tr.write("lib/a.conf", []byte("options virtio_net hidden=1\n"))
	tr.write("lib/b.conf", []byte("options dm_crypt max_read_size=1\ninstall snd /bin/false\n"))
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config+"modules: {set: host, add: [virtio_net]}\n"))
	if err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	if _, err := initramfs.Build(&out, initramfs.Options{
		Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Level: 3,
		Modprobe: []string{filepath.Join(tr.dir, "etc"), filepath.Join(tr.dir, "lib"), filepath.Join(tr.dir, "absent")},
	}); err != nil {
		t.Fatal(err)
	}
	entries, err := initramfs.List(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e initramfs.Entry) bool { return e.Name == "modules.idx" })
	text := string(entries[i].Data)
	for want, there := range map[string]bool{"napi_tx=0 csum=0": true, "max_read_size=1": true, "hidden": false, "virtio:": false, "snd": false} {
		if strings.Contains(text, want) != there {
			t.Errorf("index has %q: %v, want %v:\n%s", want, !there, there, text)
		}
	}
}

// TestCompressedMicrocode is faults/node.md M14: Fedora and openSUSE have
// it as .xz, others as .zst.
func TestCompressedMicrocode(t *testing.T) {
	var packed bytes.Buffer
	x, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = x.Write([]byte("xz-microcode"))
	if err := errors.Join(err, x.Close()); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}

	tr := newTree(t)
	tr.write("firmware/amd-ucode/microcode_amd.bin.xz", packed.Bytes())
	tr.write("firmware/amd-ucode/microcode_amd.bin.asc", []byte("signature"))
	tr.write("firmware/intel-ucode/06-0f-02.zst", z.EncodeAll([]byte("zst-microcode"), nil))
	_, image, err := tr.build(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"xz-microcode", "zst-microcode"} {
		if !bytes.Contains(image, []byte(want)) {
			t.Errorf("the image lacks %s", want)
		}
	}
	if bytes.Contains(image, []byte("signature")) {
		t.Error("the image has a signature for microcode")
	}
}
