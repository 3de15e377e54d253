package uki_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/initramfs/uki"
)

// loaderFile is systemd's boot loader.
const loaderFile = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"

func loader(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(loaderFile)
	if err != nil {
		t.Skipf("needs systemd's boot loader: run images/deps (%v)", err)
	}
	return data
}

// TestAuthenticode: the digest of a signed program is the one that its
// signature is of, and sbverify finds that this is the program's.
//
// compatible: Boot | sbverify (Debian 12) | digests of signed programs are those that it finds
func TestAuthenticode(t *testing.T) {
	program := loader(t)
	tool, err := exec.LookPath("sbverify")
	if err != nil {
		t.Skip("needs sbverify: run images/deps")
	}
	key, cert := pair(t)
	signed, err := uki.SignBoot(program, key, cert)
	if err != nil {
		t.Fatal(err)
	}
	d, err := uki.Authenticode(signed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(signed, d[:]) {
		t.Errorf("Authenticode = %x, which the signature does not have", d)
	}
	dir := t.TempDir()
	file, certificate := filepath.Join(dir, "signed.efi"), filepath.Join(dir, "cert.pem")
	if err := errors.Join(os.WriteFile(file, signed, 0o600), os.WriteFile(certificate, cert, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "--cert", certificate, file).CombinedOutput(); err != nil {
		t.Errorf("sbverify: %v\n%s", err, out)
	}

	// A change anywhere but in checksum and signature is another program.
	pe := int(binary.LittleEndian.Uint32(signed[0x3c:]))
	for name, row := range map[string]struct {
		at   int
		same bool
	}{"a section": {len(program) - 1, false}, "the header": {pe + 8, false}, "the checksum": {pe + 24 + 64, true}, "the signature": {len(signed) - 1, true}} {
		changed := bytes.Clone(signed)
		changed[row.at] ^= 1
		if got, err := uki.Authenticode(changed); err != nil || (got == d) != row.same {
			t.Errorf("%s changed: Authenticode = %x, %v, same as before: %t", name, got, err, got == d)
		}
	}
	for name, broken := range map[string][]byte{"nothing": nil, "text": []byte("#!/bin/sh\n"), "cut": program[:len(program)/2]} {
		if _, err := uki.Authenticode(broken); err == nil {
			t.Errorf("%s has a digest", name)
		}
	}
}

// TestLoader: a boot loader is known by its content, whatever its file is
// called.
func TestLoader(t *testing.T) {
	program := loader(t)
	without := func(magic string, section string) []byte {
		b := bytes.ReplaceAll(program, []byte("LoaderInfo: systemd-boot "), []byte(magic))
		return bytes.Replace(b, []byte(".sdmagic"), []byte(section), 1)
	}
	sbat := func(component string) []byte {
		old := []byte("\nsystemd,1,")
		if !bytes.Contains(program, old) {
			t.Skip("this systemd-boot has another line of SBAT")
		}
		return bytes.Replace(without(strings.Repeat("x", 25), ".sdmagic"), old, []byte("\n"+component), 1)
	}
	for _, row := range []struct {
		name, want, refused string
		program             []byte
	}{
		{"systemd-boot", uki.SystemdBoot, "", program},
		{"systemd-boot under another name", "", "none of shim, GRUB and systemd-boot", without(strings.Repeat("x", 25), ".sdmagic")},
		{"its magic in another section", "", "none of shim", without("LoaderInfo: systemd-boot ", ".comment")},
		{"a stub", "", "give a UKI as FILE.efi", without("LoaderInfo: systemd-stub ", ".sdmagic")},
		{"a GRUB of one's own making", uki.GRUB, "", without("LoaderInfo: systemd-boot ", "mods\x00\x00\x00\x00")},
		{"shim", uki.Shim, "", sbat("shim,0004,")},
		{"GRUB", uki.GRUB, "", sbat("grub,0005,")},
		{"no program", "", "not a PE file", []byte("default shop\n")},
	} {
		got, err := uki.Loader(row.program)
		if got != row.want || (err == nil) != (row.refused == "") || err != nil && !strings.Contains(err.Error(), row.refused) {
			t.Errorf("Loader(%s) = %q, %v, want %q, %q", row.name, got, err, row.want, row.refused)
		}
	}
}
