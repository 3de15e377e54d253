package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/cli"
)

// labCertificate is of a CA that nobody has the key of.
const labCertificate = `-----BEGIN CERTIFICATE-----
MIIBcjCCARmgAwIBAgIUTjg3L4b6OvMtA3z06ZmnreBnTB0wCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDbGFiMCAXDTI2MTEyODA4MjIyNloYDzIxMjYxMTA0MDgyMjI2
WjAOMQwwCgYDVQQDDANsYWIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATgnJ4N
PvtwIhPQOZ9YYFPoS602G/RzUwXcL7TsHYrlhlfmCKpT/tKvCv+lbPDJitwtCuhz
XBkzFXnrnP7kPYbdo1MwUTAdBgNVHQ4EFgQUXkbKVnCJMHimqqJyZvK574qDDGEw
HwYDVR0jBBgwFoAUXkbKVnCJMHimqqJyZvK574qDDGEwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNHADBEAiBQf42FoohUiUfsBBQIaMQ2HQQlklalFi8WBjOa
ofbbwQIgQzSUo0I/vCT+XXfFKCTfprHpxxpKvhoLDaiA6Tmjmf0=
-----END CERTIFICATE-----
`

// TestOutputIsNoInput: an image is never written over what it is made of, by
// whatever name.
func TestOutputIsNoInput(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"init", "root.key", "ca.pem", "luks.header", "modules/modules.dep", "modules/kernel/ext4.ko.xz", "modules/initrd", "firmware/iwl.ucode", "old.img"} {
		touch(t, in(name))
	}
	config := in("latchkey.yaml")
	text := "trust: {kms: [\"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=\"]}\nvolumes: [{uuid: 11111111-2222-3333-4444-555555555555, header: {path: " + in("luks.header") +
		"}, data: PARTUUID=0001, sources: [key-file: {path: " + in("root.key") + "}, clevis: {tang: " + strings.Repeat("A", 43) + ", ca: [" + in("ca.pem") + "]}]}]\n"
	if err := errors.Join(os.WriteFile(in("ca.pem"), []byte(labCertificate), 0o600), os.WriteFile(config, []byte(text), 0o600), os.Symlink(config, in("link"))); err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct{ output, want string }{
		{config, "--output and --config are the same file"},
		{in("link"), "--output and --config are the same file"},
		{in("init"), "--output and --init are the same file"},
		{in("root.key"), "--output and a file that the configuration names are the same file"},
		{in("ca.pem"), "--output and a file that the configuration names are the same file"},
		{in("luks.header"), "--output and a file that the configuration names are the same file"},
		{in("modules/modules.dep"), "is one of the files of --modules"},
		{in("modules/kernel/ext4.ko.xz"), "is one of the files of --modules"},
		{in("firmware/iwl.ucode"), "is one of the files of the firmware in"},
		{in("modules/initrd"), ""}, // where some distributions have it
		{in("old.img"), ""},
		{in("new.img"), ""},
	} {
		o := imageBuild{config: config, output: row.output, init: in("init"), modules: in("modules"), firmware: []string{in("firmware")}, level: 1}
		_, err := o.options()
		exit, ok := errors.AsType[*cli.Exit](err)
		if row.want == "" && err != nil || row.want != "" && (!ok || exit.Code != cli.Usage || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.output, err, row.want)
		}
	}

	for flag, u := range map[string]imageUKI{
		"--kernel":   {kernel: in("init")},
		"--cmdline":  {cmdline: "@" + in("init")},
		"--boot-key": {bootKey: in("init"), bootCertificate: "x"},
	} {
		u.build.output = in("init")
		if err := checkOutput(u.build.output, u.inputs()); err == nil || !strings.Contains(err.Error(), "--output and "+flag+" are the same file") {
			t.Errorf("uki %s: %v", flag, err)
		}
	}
}

// An image with keys that others can read is named, and one without is not.
func TestWarnReadable(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "root.key")
	for _, name := range []string{key, filepath.Join(dir, "modules.dep")} {
		if err := os.WriteFile(name, []byte("0123456789abcdef"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var static bytes.Buffer
	if err := binary.Write(&static, binary.LittleEndian, elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}); err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(dir, "init")
	if err := os.WriteFile(init, static.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, sources string
		mode          os.FileMode
		want          bool
	}{
		{"keys, read by all", "key-file: {path: " + key + "}", 0o755, true},
		{"keys, root's", "key-file: {path: " + key + "}", 0o700, false},
		{"no keys", "kms", 0o755, false},
		{"keys on a stick", "key-file: {path: /shop.key, device: LABEL=KEYS}", 0o755, false},
	} {
		config, image := filepath.Join(dir, "latchkey.yaml"), filepath.Join(dir, "image")
		text := "trust: {kms: [\"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=\"]}\n" +
			"volumes: [{uuid: 5ca1ab1e-0000-4000-8000-00000000d150, name: root, sources: [" + row.sources + "]}]\nmodules: {set: none}\n"
		o := imageBuild{config: config, output: image, init: init, modules: dir, level: 1}
		if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), o.run(io.Discard, io.Discard), os.Chmod(image, row.mode)); err != nil {
			t.Fatal(row.name, err)
		}
		var out bytes.Buffer
		warnReadable(&out, image)
		if got := strings.Contains(out.String(), "has keys in it and can be read by others (mode 0755): mount"); got != row.want {
			t.Errorf("%s: warned %t, want %t: %s", row.name, got, row.want, out.String())
		}
	}
}
