package qemutests

import (
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// uki FILE CMDLINE [flags of latchkey image uki]: the kernel and initrd.img
// as one EFI program. $PCR is the PCR 11 that it predicts.
func cmdUKI(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 2 {
		ts.Fatalf("usage: uki FILE CMDLINE [flags]")
	}

	flags := append([]string{
		"image", "uki", "--initrd", "initrd.img", "--kernel", filepath.Join(w.kernel, "vmlinuz"),
		"--cmdline", "console=ttyS0 edd=off panic=-1 init_on_free=1 rd.neednet=1 " + args[1], "--output", ts.MkAbs(args[0]),
	}, args[2:]...)
	out := w.exec(ts, filepath.Join(w.shared.bin, "latchkey"), flags...)
	_, pcr, _ := strings.Cut(out, "11:sha256=")
	ts.Setenv("PCR", "11:sha256="+pcr[:min(64, len(pcr))])
}
