package qemutests

import (
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// early TOOL FILE: FILE is an initramfs that a distribution's tool made
// (images/early-image), with latchkey-agent in it, of the script's
// latchkey.yaml, crypttab and agent.conf.
func cmdEarly(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: early initramfs-tools|dracut|mkinitcpio|mkinitcpio-systemd FILE")
	}
	w := worldOf(ts)
	out, err := exec.Command(filepath.Join(w.shared.bin, "../images/early-image"), args[0], w.dir, ts.MkAbs(args[1]), w.kernel).CombinedOutput()
	ts.Logf("%s", out)
	ts.Check(err)
}
