package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// hardware is what of a machine depends on its processor.
type hardware struct {
	qemu    string
	machine []string // -machine and -cpu
	console string   // the kernel's name of its first serial port
	tpm     string   // QEMU's device
	bin     string   // latchkey's commands that run on it
	root    string   // ext4 image of the tiny root
}

// pc is the machine that scripts have unless they ask for another one.
func (s *shared) pc() hardware {
	return hardware{
		qemu: "qemu-system-x86_64", machine: []string{"-machine", "q35,smm=on", "-cpu", "max"}, console: "ttyS0", tpm: "tpm-crb",
		bin: s.bin, root: s.root,
	}
}

// arm64 is a machine that a device tree describes, with a TPM on its bus: its
// FIFO interface in memory (compatible "tcg,tpm-tis-mmio"). Everything that
// it runs is built for it. QEMU's own signing of pointers costs less than the
// architecture's.
func (w *world) arm64(ts *testscript.TestScript) hardware {
	h := hardware{
		qemu: "qemu-system-aarch64", machine: []string{"-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"}, console: "ttyAMA0", tpm: "tpm-tis-device",
		bin: filepath.Join(w.dir, "arm64"), root: filepath.Join(w.dir, "arm64.ext4"),
	}
	tree := filepath.Join(w.dir, "tree")
	for _, d := range []string{"sbin", "dev", "proc", "sys", "run"} {
		ts.Check(os.MkdirAll(filepath.Join(tree, d), 0o755))
	}

	top := filepath.Dir(w.shared.bin)
	w.forARM(ts, top, "make", "build", "BIN="+h.bin)
	w.forARM(ts, top, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(tree, "sbin/init"), "./qemu-tests/testroot")
	for _, c := range []string{"latchkey", "latchkey-kms", "latchkey-responder", "kcrypt-discovery-challenger"} {
		w.exec(ts, "cp", filepath.Join(h.bin, c), filepath.Join(tree, "sbin"))
	}
	w.exec(ts, "truncate", "-s", "128M", h.root)
	w.exec(ts, "mke2fs", "-q", "-t", "ext4", "-L", "tiny-root", "-d", tree, h.root)
	return h
}

// forARM runs a builder for arm64 in the source tree.
func (w *world) forARM(ts *testscript.TestScript, top, name string, args ...string) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = top, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// kernel FLAVOR: images and machines have Debian's kernel of this flavor from
// now on, such as amd64, whose drivers and file systems are modules. With one
// that ends in arm64, machines and all that they run are arm64.
func cmdKernel(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: kernel FLAVOR")
	}
	w := worldOf(ts)
	cmd := exec.Command("../images/kernel", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	ts.Check(err)
	w.kernel = strings.TrimSpace(string(out))
	w.modules, err = modulesOf(w.kernel)
	ts.Check(err)
	ts.Setenv("KERNEL", filepath.Join(w.kernel, "vmlinuz"))
	ts.Setenv("MODULES", w.modules)
	if strings.HasSuffix(args[0], "arm64") {
		w.hardware = w.arm64(ts)
	}
}
