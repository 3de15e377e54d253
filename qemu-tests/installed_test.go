package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// packages FILE: an ext4 file system named story, with the script's file
// story, the Debian packages of these commands as version 0.0.1 in the folder
// 1 and as 0.0.2 in the folder 2.
func cmdPackages(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: packages FILE")
	}
	w := worldOf(ts)
	tree := filepath.Join(w.dir, "tree")
	built := filepath.Join(w.dir, "built")
	ts.Check(os.MkdirAll(tree, 0o755))
	ts.Check(os.MkdirAll(built, 0o755))
	ts.Check(os.Symlink(w.shared.bin, filepath.Join(built, "amd64")))
	for _, version := range []string{"1", "2"} {
		cmd := exec.Command("../images/packages/build", "deb", "amd64")
		cmd.Env = append(os.Environ(), "PKG_BIN="+built, "PKG_OUT="+filepath.Join(tree, version), "PKG_VERSION=0.0."+version, "PKG_DEB=zstd")
		if out, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("building the packages: %v\n%s", err, out)
		}
	}
	w.exec(ts, "cp", ts.MkAbs("story"), tree)
	w.exec(ts, "truncate", "-s", "128M", ts.MkAbs(args[0]))
	w.exec(ts, "mke2fs", "-q", "-t", "ext4", "-L", "story", "-d", tree, ts.MkAbs(args[0]))
}

// system NAME UUID [RECIPE]: NAME.img, a Debian with systemd in a LUKS2 volume,
// and NAME.key, what opens it. The recipe is images/debian-root, or another one.
func cmdSystem(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: system NAME UUID [RECIPE]")
	}
	cmd := exec.Command("../images/" + append(args, "debian-root")[2])
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("system"), out, 0o644))
	cmdDisk(ts, false, []string{args[0], args[1], "-holds", string(out[:len(out)-1])})
}
