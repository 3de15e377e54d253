package qemutests

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// Debian's OVMF has variables in which Secure Boot is on and trusts one
// test key, whose private half it ships, too.
const (
	ovmfPlain   = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	ovmfSecure  = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"
	ovmfCode    = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	snakeoilKey = "/usr/share/ovmf/PkKek-1-snakeoil.key"
	snakeoilPEM = "/usr/share/ovmf/PkKek-1-snakeoil.pem"
)

// uki FILE CMDLINE [flags of latchkey image uki]: the kernel and initrd.img
// as one EFI program. "-signed" signs it with the key that the firmware of
// "boot -secure" trusts.
func cmdUKI(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 2 {
		ts.Fatalf("usage: uki FILE CMDLINE [-signed] [flags]")
	}

	flags := []string{
		"image", "uki", "--initrd", "initrd.img", "--kernel", filepath.Join(w.shared.kernel, "vmlinuz"),
		"--cmdline", "console=ttyS0 edd=off panic=-1 init_on_free=1 rd.neednet=1 " + args[1], "--output", ts.MkAbs(args[0]),
	}
	for _, a := range args[2:] {
		if a == "-signed" {
			flags = append(flags, "--boot-key", w.snakeoil(ts), "--boot-cert", snakeoilPEM)
			continue
		}
		flags = append(flags, a)
	}

	out := w.exec(ts, filepath.Join(w.shared.bin, "latchkey"), flags...)
	_, pcr, _ := strings.Cut(out, "11:sha256=")
	ts.Setenv("PCR", "11:sha256="+pcr[:min(64, len(pcr))])
}

// snakeoil is the test key without the passphrase that Debian gave it.
func (w *world) snakeoil(ts *testscript.TestScript) string {
	key := filepath.Join(w.dir, "db.key")
	if _, err := os.Stat(key); err != nil {
		w.exec(ts, "openssl", "rsa", "-in", snakeoilKey, "-passin", "pass:snakeoil", "-out", key)
	}
	return key
}

// firmware are QEMU's options for a machine that starts an EFI program of
// its own disk, as the removable-media path of UEFI 2.10, section 3.5.1.1
// names it. The variables are fresh at each boot.
func (w *world) firmware(ts *testscript.TestScript, program string, secure bool) []string {
	vars := filepath.Join(w.dir, "vars.fd")
	from := ovmfPlain
	if secure {
		from = ovmfSecure
	}
	w.exec(ts, "cp", from, vars)

	esp := filepath.Join(w.dir, "esp")
	ts.Check(os.RemoveAll(esp))
	ts.Check(os.MkdirAll(filepath.Join(esp, "EFI/BOOT"), 0o755))
	w.exec(ts, "cp", ts.MkAbs(program), filepath.Join(esp, "EFI/BOOT/BOOTX64.EFI"))

	return []string{
		"-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + ovmfCode,
		"-drive", "if=pflash,format=raw,unit=1,file=" + vars,
		"-drive", "if=none,id=esp,format=raw,file=fat:rw:" + esp, "-device", "virtio-blk-pci,drive=esp,bootindex=0",
	}
}
