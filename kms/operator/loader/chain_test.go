package loader_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/initramfs/uki"
	"latchkey/kms/operator/loader"
	"latchkey/kms/server/policy"
)

// program is an EFI program that is known to be a boot loader, or not.
func program(t *testing.T, magic string) []byte {
	t.Helper()
	data, err := os.ReadFile("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	if err != nil {
		t.Skipf("needs systemd's boot loader: run images/deps (%v)", err)
	}
	return bytes.ReplaceAll(data, []byte("LoaderInfo: systemd-boot "), []byte(magic))
}

// named is the program with its first section .sdmagic under another name.
func named(t *testing.T, section string) []byte {
	t.Helper()
	return bytes.Replace(program(t, strings.Repeat("x", 25)), []byte(".sdmagic"), append([]byte(section), make([]byte, 8-len(section))...), 1)
}

func authenticode(t *testing.T, program []byte) policy.Digest {
	t.Helper()
	d, err := uki.Authenticode(program)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestChain: what is computed of the files of a boot, for each loader of
// which it is known what it measures; others are refused in one line.
func TestChain(t *testing.T) {
	sdboot, grub, kernel := program(t, "LoaderInfo: systemd-boot "), named(t, "mods"), named(t, ".linux")
	initrd, config := []byte("an initrd"), []byte("linux /vmlinuz")
	file := func(data []byte) loader.File { return loader.File{Name: "F", Data: data} }
	arm := bytes.Clone(kernel)
	binary.LittleEndian.PutUint16(arm[binary.LittleEndian.Uint32(arm[0x3c:])+4:], 0xaa64)

	for _, row := range []struct {
		name    string
		change  func(*loader.Boot)
		want    policy.Chain
		refused string
	}{
		{"systemd-boot", func(b *loader.Boot) { b.Loaders = []loader.File{file(sdboot)} }, policy.Chain{
			Loader: policy.LoaderSystemd, Programs: []policy.Digest{authenticode(t, sdboot), authenticode(t, kernel)}, CommandLine: "ro quiet",
		}, ""},
		{"GRUB", func(b *loader.Boot) {
			b.Loaders, b.Read, b.CommandLine = []loader.File{file(grub)}, []loader.File{file(config)}, "BOOT_IMAGE=/vmlinuz ro quiet"
		}, policy.Chain{
			Loader: policy.LoaderGRUB, Programs: []policy.Digest{authenticode(t, grub), authenticode(t, kernel)}, CommandLine: "ro quiet",
			Kernel: sha256.Sum256(kernel), Files: []policy.Digest{sha256.Sum256(config)},
		}, ""},
		{"the firmware", func(*loader.Boot) {}, policy.Chain{Loader: policy.LoaderNone, Programs: []policy.Digest{authenticode(t, kernel)}, CommandLine: "ro quiet"}, ""},
		{"another loader", func(b *loader.Boot) { b.Loaders = []loader.File{file(kernel)} }, policy.Chain{}, "boot loader F: it is none of shim, GRUB and systemd-boot"},
		{"shim alone", func(b *loader.Boot) {
			b.Loaders = []loader.File{file(bytes.Replace(program(t, strings.Repeat("x", 25)), []byte("\nsystemd,1,"), []byte("\nshim,0004,"), 1))}
		}, policy.Chain{}, "shim starts another one"},
		{"files that systemd-boot reads", func(b *loader.Boot) { b.Loaders, b.Read = []loader.File{file(sdboot)}, []loader.File{file(config)} }, policy.Chain{}, "F: only what GRUB reads is measured"},
		{"a kernel that is no EFI program", func(b *loader.Boot) { b.Kernel = file([]byte("zImage")) }, policy.Chain{}, "F: it is no EFI program"},
		{"a kernel that takes device trees", func(b *loader.Boot) { b.Kernel = file(arm) }, policy.Chain{}, "F: it is for aa64"},
		{"no command line", func(b *loader.Boot) { b.CommandLine = "\n" }, policy.Chain{}, "command line is empty"},
	} {
		b := loader.Boot{Kernel: file(kernel), Initrd: file(initrd), CommandLine: "ro quiet\n"}
		row.change(&b)
		c, err := b.Chain()
		if row.refused != "" {
			if err == nil || !strings.Contains(err.Error(), row.refused) {
				t.Errorf("%s: Chain = %v, want %q", row.name, err, row.refused)
			}
			continue
		}
		row.want.Initrd = sha256.Sum256(initrd)
		if err != nil {
			t.Errorf("%s: Chain = %v", row.name, err)
		} else if diff := cmp.Diff(row.want, *c); diff != "" {
			t.Errorf("%s: Chain (-want +got):\n%s", row.name, diff)
		}
	}
}
