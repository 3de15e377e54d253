package qemutests

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// What all scripts share, made once.
type shared struct {
	bin     string // the built commands
	kernel  string // folder: vmlinuz, lib/modules/VERSION
	modules string
	root    string // ext4 image of the tiny root
	dir     string
}

func prepare(t *testing.T) *shared {
	t.Helper()
	top, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}

	s := &shared{bin: filepath.Join(top, "bin"), dir: t.TempDir()}
	if _, err := os.Stat(filepath.Join(s.bin, "latchkey-init")); err != nil {
		t.Fatal("there is no bin/latchkey-init: run make build")
	}

	s.kernel = run(t, top, filepath.Join(top, "images/kernel"))
	if s.modules, err = modulesOf(s.kernel); err != nil {
		t.Fatal(err)
	}
	s.root = s.makeRoot(t, top)
	return s
}

// modulesOf is the folder of the modules that a kernel's folder has.
func modulesOf(kernel string) (string, error) {
	versions, err := filepath.Glob(filepath.Join(kernel, "lib/modules/*"))
	if err == nil && len(versions) != 1 {
		err = fmt.Errorf("the kernel folder %s has %d versions, want 1", kernel, len(versions))
	}
	if err != nil {
		return "", err
	}
	return versions[0], nil
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// makeRoot makes the tiny root: one static binary as /sbin/init, the
// operator's command, and what a kexec needs.
func (s *shared) makeRoot(t *testing.T, top string) string {
	tree := filepath.Join(s.dir, "tree")
	for _, d := range []string{"sbin", "dev", "proc", "sys", "run", "boot", "etc", "usr"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/os-release"), []byte("ID=testroot\n"), 0o644); err != nil { // systemd wants one
		t.Fatal(err)
	}
	run(t, top, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(tree, "sbin/init"), "./qemu-tests/testroot")
	run(t, top, "cp", filepath.Join(s.bin, "latchkey"), filepath.Join(tree, "sbin/latchkey"))
	run(t, top, "cp", filepath.Join(s.kernel, "vmlinuz"), filepath.Join(tree, "boot/vmlinuz"))
	image := filepath.Join(s.dir, "root.ext4")
	run(t, top, "truncate", "-s", "64M", image)
	run(t, top, "mke2fs", "-q", "-t", "ext4", "-L", "tiny-root", "-d", tree, image)
	return image
}

var uuidRE = regexp.MustCompile(`^[0-9a-f-]{36}$`)

// disk NAME UUID [flags of latchkey volume encrypt]: NAME.img, the tiny
// root in a LUKS2 volume, and NAME.key, what opens it. "disk NAME plain"
// is the same root without encryption, "disk NAME empty" 64 MiB of zeros;
// "disk NAME UUID -holds FILE" has something else in the volume.
func cmdDisk(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 2 {
		ts.Fatalf("usage: disk NAME UUID|plain|empty [flags]")
	}

	image, key := ts.MkAbs(args[0]+".img"), ts.MkAbs(args[0]+".key")
	switch {
	case args[1] == "plain":
		w.exec(ts, "cp", "--sparse=always", w.hardware.root, image)
	case args[1] == "empty":
		w.exec(ts, "truncate", "-s", "64M", image)

	case uuidRE.MatchString(args[1]):
		if _, err := os.Stat(key); err != nil {
			secret := make([]byte, 32)
			rand.Read(secret)
			ts.Check(os.WriteFile(key, []byte(hex.EncodeToString(secret)), 0o600))
		}
		holds := w.hardware.root
		if len(args) > 3 && args[2] == "-holds" {
			holds = ts.MkAbs(args[3])
			args = append(args[:2:2], args[4:]...)
		}
		flags := append([]string{"volume", "encrypt", "--kdf", "pbkdf2", "--key-file", key, "--uuid", args[1]}, args[2:]...)
		w.exec(ts, filepath.Join(w.shared.bin, "latchkey"), append(flags, holds, image)...)

	default:
		ts.Fatalf("disk: %q is neither a UUID nor plain nor empty", args[1])
	}
}

func (w *world) exec(ts *testscript.TestScript, name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Dir = w.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// image [-pin KEY|none] [-o FILE] [-sources LIST] [-with FIELDS] [NAME=UUID[@SERIAL][?]…]: FILE or initrd.img, whose plan trusts the KMS of
// this script, or none with -pin none, and opens these volumes (default root=$UUID), those with a question mark by nofail. YAML that a
// script has in extra.yaml is added.
func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	pin, output, sources, more := "", "initrd.img", "kms", ""
	for len(args) > 1 && args[0][0] == '-' {
		switch args[0] {
		case "-pin":
			pin = args[1]
		case "-o":
			output = args[1]
		case "-sources":
			sources = args[1]
		case "-with":
			more = ", " + args[1]
		default:
			ts.Fatalf("image: there is no option %s", args[0])
		}
		args = args[2:]
	}

	if pin == "" {
		pin = w.pin(ts)
		ts.Setenv("PIN", pin)
	}
	if len(args) == 0 {
		args = []string{"root=" + ts.Getenv("UUID")}
	}

	var b strings.Builder
	if pin != "none" {
		fmt.Fprintf(&b, "trust:\n  kms: [%q]\n", pin)
	}
	extra, err := os.ReadFile(ts.MkAbs("extra.yaml"))
	if err != nil {
		extra = []byte("find: {urls: [\"http://kms.local:7741\"], services: [_latchkey._tcp]}\n")
	}
	if !strings.Contains(string(extra), "modules: ") { // most roots are ext4
		b.WriteString("modules: {exclude: [xfs, btrfs, mlx4_core, mlx5_core]}\n")
	}
	fmt.Fprintf(&b, "debug: true\non-fail: {action: poweroff, after: 0s}\nvolumes:\n")
	for _, a := range args {
		name, uuid, ok := strings.Cut(a, "=")
		if !ok {
			ts.Fatalf("image: %q is not NAME=UUID", a)
		}
		uuid, optional := strings.CutSuffix(uuid, "?")
		uuid, serial, _ := strings.Cut(uuid, "@")
		fmt.Fprintf(&b, "  - {name: %s, uuid: %q, serial: %q, sources: [%s], nofail: %t%s}\n", name, uuid, serial, sources, optional, more)
	}

	b.Write(extra)
	ts.Check(os.WriteFile(ts.MkAbs("latchkey.yaml"), []byte(b.String()), 0o644))
	flags := []string{"image", "build", "--config", "latchkey.yaml", "--modules", w.modules, "--microcode", "", "--level", "1", "--output", output}
	if w.hardware.bin != w.shared.bin { // else it takes the one that the plan needs
		flags = append(flags, "--init", filepath.Join(w.hardware.bin, "latchkey-init"))
	}
	w.exec(ts, filepath.Join(w.shared.bin, "latchkey"), flags...)
}

var pinRE = regexp.MustCompile(`lk1:[A-Za-z0-9+/=]+`)

// pin is the key of this script's KMS, made now if there is none yet.
func (w *world) pin(ts *testscript.TestScript) string {
	data := ts.Getenv("KMS_DATA")
	if _, err := os.Stat(data); err != nil {
		w.initKMS(ts, data)
	}
	pin := pinRE.FindString(w.exec(ts, filepath.Join(w.shared.bin, "latchkey-kms"), "trust", "--data", data))
	if pin == "" {
		ts.Fatalf("latchkey-kms trust printed no key")
	}
	return pin
}
