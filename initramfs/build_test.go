package initramfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

const config = `
trust: {kms: ["lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="]}
volumes: [{uuid: 11111111-2222-3333-4444-555555555555}]
`

// elf makes an ELF file as small as a kernel module may be here: one
// .modinfo section, and an interpreter if it is to be a dynamic program.
func elf(modinfo string, dynamic bool) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	le := binary.LittleEndian
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], 1)
	le.PutUint16(head[18:], 62)
	le.PutUint32(head[20:], 1)
	le.PutUint16(head[52:], 64)
	le.PutUint16(head[54:], 56)
	le.PutUint16(head[58:], 64)
	body := append(head, modinfo...)
	body = append(body, names...)
	if dynamic {
		le.PutUint64(body[32:], uint64(len(body)))
		le.PutUint16(body[56:], 1)
		segment := make([]byte, 56)
		le.PutUint32(segment, 3) // PT_INTERP
		body = append(body, segment...)
	}

	le.PutUint64(body[40:], uint64(len(body)))
	le.PutUint16(body[60:], 3)
	le.PutUint16(body[62:], 2)
	section := func(name, kind uint32, at, size int) []byte {
		s := make([]byte, 64)
		le.PutUint32(s, name)
		le.PutUint32(s[4:], kind)
		le.PutUint64(s[24:], uint64(at))
		le.PutUint64(s[32:], uint64(size))
		return s
	}

	return slices.Concat(body, make([]byte, 64), section(1, 1, 64, len(modinfo)), section(10, 3, 64+len(modinfo), len(names)))
}

// A tree is a folder with a kernel's modules and an init.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) tree {
	tr := tree{t, t.TempDir()}
	tr.write("init", elf("", false))
	mods := map[string]string{
		"kernel/drivers/net/virtio_net.ko":     "kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/virtio/virtio.ko":      "kernel/drivers/virtio/virtio_ring.ko",
		"kernel/drivers/virtio/virtio_ring.ko": "",
		"kernel/drivers/md/dm-mod.ko":          "",
		"kernel/drivers/md/dm-crypt.ko":        "kernel/drivers/md/dm-mod.ko",
		"kernel/crypto/xts.ko":                 "",
		"kernel/crypto/ecb.ko":                 "",
		"kernel/fs/xfs/xfs.ko":                 "",
		"kernel/sound/snd.ko":                  "",
	}

	var dep strings.Builder
	for _, m := range slices.Sorted(func(yield func(string) bool) {
		for m := range mods {
			if !yield(m) {
				return
			}
		}
	}) {
		tr.write("modules/6.1/"+m, elf("license=GPL\x00", false))
		dep.WriteString(m + ": " + mods[m] + "\n")
	}

	tr.write("modules/6.1/kernel/drivers/net/virtio_net.ko", elf("firmware=vendor/nic*.bin\x00firmware=missing.bin\x00", false))
	tr.write("modules/6.1/modules.dep", []byte(dep.String()))
	tr.write("modules/6.1/modules.builtin", []byte("kernel/fs/ext4/ext4.ko\n"))
	tr.write("modules/6.1/modules.alias", []byte("# x\nalias virtio:d00000001v* virtio_net\nalias crypto-xts xts\nalias fs-xfs xfs\nalias net-pf-1 snd\n"))

	// xts wants ecb first, and ecb xts: the circle must not hang the init.
	tr.write("modules/6.1/modules.softdep", []byte("softdep xts pre: ecb\nsoftdep ecb pre: xts\n"))
	tr.write("firmware/vendor/nic1.bin", []byte("one"))
	tr.write("firmware/amd-ucode/family.bin", []byte("microcode"))
	return tr
}

func (tr tree) write(name string, data []byte) {
	tr.t.Helper()
	path := filepath.Join(tr.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) build(text string) (*initramfs.Result, []byte, error) {
	return tr.buildAs("latchkey.yaml", text)
}

func (tr tree) buildAs(name, text string) (*initramfs.Result, []byte, error) {
	c, err := initramfs.ReadConfig(name, strings.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	return tr.buildConfig(c)
}

func (tr tree) buildConfig(c *initramfs.Config) (*initramfs.Result, []byte, error) {
	var out bytes.Buffer
	r, err := initramfs.Build(&out, initramfs.Options{
		Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"),
		Firmware: []string{filepath.Join(tr.dir, "firmware")}, Microcode: []string{filepath.Join(tr.dir, "firmware")}, Level: 3,
	})
	return r, out.Bytes(), err
}

// TestExactContents is B1 of the threats: no shell, no tool, nothing that
// was not asked for.
func TestExactContents(t *testing.T) {
	r, image, err := newTree(t).build(config)
	if err != nil {
		t.Fatal(err)
	}

	entries, err := initramfs.List(image)
	if err != nil {
		t.Fatal(err)
	}

	var files []string
	for _, e := range entries {
		if !e.Mode.IsDir() {
			files = append(files, e.Name)
		}
	}

	want := []string{
		"kernel/x86/microcode/AuthenticAMD.bin", "image-size", "init", "plan.json", "modules.idx",
		"dev/console", "dev/null", "lib/firmware/vendor/nic1.bin",
		"lib/modules/6.1/kernel/crypto/ecb.ko", "lib/modules/6.1/kernel/crypto/xts.ko",
		"lib/modules/6.1/kernel/drivers/md/dm-crypt.ko", "lib/modules/6.1/kernel/drivers/md/dm-mod.ko",
		"lib/modules/6.1/kernel/drivers/net/virtio_net.ko", "lib/modules/6.1/kernel/drivers/virtio/virtio.ko",
		"lib/modules/6.1/kernel/drivers/virtio/virtio_ring.ko", "lib/modules/6.1/kernel/fs/xfs/xfs.ko", "image-end",
	}
	if !slices.Equal(files, want) {
		t.Errorf("the image holds\n%q, want\n%q", files, want)
	}

	if want := []string{"missing.bin"}; !slices.Equal(r.Missing, want) {
		t.Errorf("missing firmware %q, want %q", r.Missing, want)
	}
	checkIndex(t, entries)
	checkSize(t, r, entries)
}

// checkSize: what the init compares with the memory that there is.
func checkSize(t *testing.T, r *initramfs.Result, entries []initramfs.Entry) {
	t.Helper()
	var said string
	var files int64
	for _, e := range entries {
		if e.Name == "image-size" {
			said = string(e.Data)
		}
		if !strings.HasPrefix(e.Name, "kernel/") && !strings.HasPrefix(e.Name, "image-") {
			files += e.Size
		}
	}
	if said != fmt.Sprintln(r.Unpacked) || r.Unpacked%4096 != 0 || r.Unpacked < files {
		t.Errorf("image-size says %q, Result.Unpacked is %d, the files have %d bytes", said, r.Unpacked, files)
	}
}

func checkIndex(t *testing.T, entries []initramfs.Entry) {
	t.Helper()
	for _, e := range entries {
		switch e.Name {
		case "modules.idx":
			index, err := plan.DecodeModules(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			if got := index.Match("virtio:d00000001v1"); len(got) != 1 || index.List[got[0]].Name() != "virtio_net" {
				t.Errorf("nothing serves the network card: %v", got)
			}
			if len(index.Match("fs-xfs")) != 1 || len(index.Match("net-pf-1")) != 0 {
				t.Errorf("aliases are %v", index.Aliases)
			}
		case "plan.json":
			p, err := plan.Decode(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"dm_mod", "dm_crypt", "xts", "ecb"}; !slices.Equal(p.Modules.Always, want) {
				t.Errorf("always loaded: %q, want %q", p.Modules.Always, want)
			}
		}
	}
}

func TestReproducible(t *testing.T) {
	_, first, err := newTree(t).build(config)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := newTree(t).build(config)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the same inputs gave two images")
	}
}

func TestCompressedModules(t *testing.T) {
	tr := newTree(t)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}

	tr.write("modules/6.1/kernel/crypto/xts.ko.zst", z.EncodeAll(elf("license=GPL\x00", false), nil))
	dep, _ := os.ReadFile(filepath.Join(tr.dir, "modules/6.1/modules.dep"))
	tr.write("modules/6.1/modules.dep", bytes.ReplaceAll(dep, []byte("xts.ko:"), []byte("xts.ko.zst:")))
	_, image, err := tr.build(config)
	if err != nil {
		t.Fatal(err)
	}

	entries, _ := initramfs.List(image)
	i := slices.IndexFunc(entries, func(e initramfs.Entry) bool { return strings.HasSuffix(e.Name, "/xts.ko") })
	if i < 0 || !bytes.HasPrefix(entries[i].Data, []byte("\x7fELF")) {
		t.Error("the image lacks xts.ko, decompressed")
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, config, want string
		change             func(tree)
	}{
		{"unknown field", config + "color: red\n", `latchkey.yaml:4: unknown key "color"; known here: `, nil},
		{"second document", config + "---\nx: 1\n", "second document", nil},
		{"field twice", config + config, "already", nil},
		{"empty", "", "empty", nil},
		{"no volumes", `trust: {kms: ["lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="]}`, "volumes is empty", nil},
		{"bad network option", config + "net: \"ip=eth0:nonsense\"\n", "net: ", nil},
		{"unknown set", config + "modules: {set: all}\n", "modules.set", nil},
		{"module that is not there", config + "modules: {add: [warp]}\n", `no module or alias "warp"`, nil},
		{"init missing", config, "make build", func(tr tree) { os.Remove(filepath.Join(tr.dir, "init")) }},
		{"init is a script", config, "not an ELF", func(tr tree) { tr.write("init", []byte("#!/bin/sh")) }},
		{"init is dynamic", config, "CGO_ENABLED=0", func(tr tree) { tr.write("init", elf("", true)) }},
		{"no modules.dep", config, "run depmod", func(tr tree) { os.Remove(filepath.Join(tr.dir, "modules/6.1/modules.dep")) }},
		{"module is no ELF", config, "xts.ko", func(tr tree) { tr.write("modules/6.1/kernel/crypto/xts.ko", []byte("x")) }},
	} {
		tr := newTree(t)
		if tt.change != nil {
			tt.change(tr)
		}
		if _, _, err := tr.build(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Build = %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte("070701"))
	f.Fuzz(func(t *testing.T, image []byte) { initramfs.List(image) })
}
