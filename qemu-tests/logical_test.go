package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// lvm SCRIPT FILE…: make the files, of 64 MiB, and run the script with lvm2
// of a newer Debian on them ($1, $2, …; images/lvm). $IMAGE is the tiny root
// with lvm2 in it, an ext4 of 40 MiB to be written into a logical volume.
func cmdLVM(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 2 {
		ts.Fatalf("usage: lvm SCRIPT FILE…")
	}
	for _, f := range args[1:] {
		w.exec(ts, "truncate", "-s", "64M", ts.MkAbs(f))
	}
	images := filepath.Join(w.shared.bin, "../images")
	debian := w.shared.debian(ts, images)
	image := w.withPrograms(ts, debian, "/sbin/lvm", "/sbin/dmsetup")
	script := "IMAGE=" + image + "\n" + ts.ReadFile(args[0])
	w.exec(ts, filepath.Join(images, "lvm"), append([]string{debian, script}, args[1:]...)...)
}

// debian is the folder that images/interop-root makes or has made.
func (s *shared) debian(ts *testscript.TestScript, images string) string {
	cmd := exec.Command(filepath.Join(images, "interop-root"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	ts.Check(err)
	return string(out[:max(0, len(out)-1)])
}

var libraryRE = regexp.MustCompile(`(/\S+) \(0x`)

// withPrograms is the tiny root with programs of Debian's and their libraries.
func (w *world) withPrograms(ts *testscript.TestScript, debian string, files ...string) string {
	tree, image := ts.MkAbs("tree"), ts.MkAbs("programs.ext4")
	w.exec(ts, "cp", "-a", filepath.Join(w.shared.dir, "tree"), tree)
	ts.Check(os.RemoveAll(filepath.Join(tree, "boot"))) // 40 MiB have no room for a kernel
	ts.Check(os.MkdirAll(filepath.Join(tree, "etc/lvm"), 0o755))
	for _, m := range libraryRE.FindAllStringSubmatch(w.exec(ts, "chroot", append([]string{debian, "ldd"}, files...)...), -1) {
		files = append(files, m[1])
	}
	for _, f := range files {
		to := filepath.Join(tree, f)
		ts.Check(os.MkdirAll(filepath.Dir(to), 0o755))
		w.exec(ts, "cp", "-L", filepath.Join(debian, f), to)
	}
	w.exec(ts, "truncate", "-s", "40M", image)
	w.exec(ts, "mke2fs", "-q", "-t", "ext4", "-L", "programs", "-d", tree, image)
	return image
}
