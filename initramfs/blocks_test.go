package initramfs_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

// blocksTree is a kernel with a driver for few machines, which needs one for
// few and one for many, and an init that loads from blocks.
func blocksTree(t *testing.T) tree {
	tr := newTree(t)
	tr.write("init", append(elf("", false), plan.BlocksForm...))
	tr.add("kernel/drivers/scsi/raid.ko", elf("alias=raid\x00", false), "kernel/drivers/scsi/libraid.ko kernel/drivers/scsi/sd_mod.ko", "pci:v1*")
	tr.add("kernel/drivers/scsi/libraid.ko", elf("alias=libraid\x00", false), "")
	tr.add("kernel/drivers/scsi/sd_mod.ko", elf("alias=sd\x00", false), "")
	return tr
}

// packedNames are the modules of an image that are in blocks.
func packedNames(t *testing.T, image []byte) (names []string) {
	t.Helper()
	entries, err := initramfs.List(image)
	if err != nil {
		t.Fatal(err)
	}
	in, err := initramfs.InBlocks(entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range in {
		for _, e := range list {
			names = append(names, plan.ModuleName(e.Name))
		}
	}
	slices.Sort(names)
	return names
}

func TestWhatIsInBlocks(t *testing.T) {
	for _, tt := range []struct{ name, more, want string }{
		{"for any machine", "", "libraid raid xfs"},
		{"the root's file system is known", "root: {fstype: xfs}\n", "libraid raid"},
		{"asked for, with what it needs", "modules: {add: [raid]}\n", "xfs"},
		{"none but what is asked for", "modules: {set: none, add: [raid]}\n", ""},
	} {
		tr := blocksTree(t)
		res, image, err := tr.build(config + tt.more)
		if err != nil {
			t.Fatal(err)
		}
		got := packedNames(t, image)
		if strings.Join(got, " ") != tt.want || res.InBlocks != len(got) {
			t.Errorf("%s: %v are in blocks, the result says %d, want %q", tt.name, got, res.InBlocks, tt.want)
		}
		if _, again, err := tr.build(config + tt.more); err != nil || !bytes.Equal(image, again) {
			t.Errorf("%s: the same inputs give another image, %v", tt.name, err)
		}
	}
}

// What is in a block is what depmod's folder has, byte for byte.
func TestBlocksHoldTheModules(t *testing.T) {
	tr := blocksTree(t)
	_, image, err := tr.build(config)
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := initramfs.List(image)
	in, err := initramfs.InBlocks(entries)
	if err != nil || len(in) == 0 {
		t.Fatalf("InBlocks gives %v, %v", in, err)
	}
	for _, e := range slices.Concat(slices.Collect(maps.Values(in))...) {
		want, err := os.ReadFile(filepath.Join(tr.dir, "modules", strings.TrimPrefix(e.Name, "lib/modules/")))
		if err != nil || !bytes.Equal(e.Data, want) {
			t.Errorf("%s in block %s is not the module, %v", e.Name, e.In, err)
		}
	}
}

// An init of before would take an index with blocks for damaged, and boot
// nothing.
func TestNoBlocksForAnOlderInit(t *testing.T) {
	tr := blocksTree(t)
	tr.write("init", elf("", false))
	if _, image, err := tr.build(config); err != nil || len(packedNames(t, image)) > 0 || tr.indexOf(image).Blocks != nil {
		t.Errorf("%v are in blocks, %v, want none", packedNames(t, image), err)
	}
}

func TestInBlocksOfDamaged(t *testing.T) {
	tr := blocksTree(t)
	_, image, err := tr.build(config)
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := initramfs.List(image)
	for i := range entries {
		if strings.HasSuffix(entries[i].Name, ".lzma") {
			entries[i].Data = entries[i].Data[:20]
		}
	}
	if _, err := initramfs.InBlocks(entries); err == nil || !strings.Contains(err.Error(), "seldom-000.lzma, which holds modules") {
		t.Errorf("InBlocks of a cut block gives %v, want its name", err)
	}
}

// A program that compresses is used; one that fails, or gives back something
// else, is named, and the libraries do its work.
func TestCompressors(t *testing.T) {
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("needs xz")
	}
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("needs zstd")
	}
	broken := filepath.Join(t.TempDir(), "broken")
	lying := filepath.Join(t.TempDir(), "lying")
	if err := errors.Join(os.WriteFile(broken, []byte("#!/bin/sh\necho no room >&2\nexit 3\n"), 0o755), os.WriteFile(lying, []byte("#!/bin/sh\necho something\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name          string
		c             *initramfs.Compressors
		said, warning string
	}{
		{"both", &initramfs.Compressors{Zstd: zstd, XZ: xz}, "compressed by zstd and xz", ""},
		{"neither", &initramfs.Compressors{}, "where zstd and xz would make it smaller", ""},
		{"zstd fails", &initramfs.Compressors{Zstd: broken, XZ: xz}, "", "exit status 3 no room; the image is compressed without it"},
		{"xz fails", &initramfs.Compressors{Zstd: zstd, XZ: broken}, "", "exit status 3 no room; the image is compressed without it"},
		{"xz lies", &initramfs.Compressors{Zstd: zstd, XZ: lying}, "", "is not what it was given; the image is compressed without it"},
	} {
		tr := blocksTree(t)
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		res, err := initramfs.Build(&out, initramfs.Options{Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Compressors: tt.c})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(res.Compressed, tt.said) || !strings.Contains(strings.Join(res.Warnings, "\n"), tt.warning) || tt.warning == "" && len(res.Warnings) > 0 {
			t.Errorf("%s: said %q, warned %q; want %q and %q", tt.name, res.Compressed, res.Warnings, tt.said, tt.warning)
		}
		if got := strings.Join(packedNames(t, out.Bytes()), " "); got != "libraid raid xfs" {
			t.Errorf("%s: %q are in blocks", tt.name, got)
		}
	}
}
