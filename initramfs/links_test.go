package initramfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestLinksBelowRoot: files of the kernel, firmware and modprobe.d that are
// absolute links are those of the system that the image is for.
func TestLinksBelowRoot(t *testing.T) {
	root, outside := t.TempDir(), filepath.Join(t.TempDir(), "file")
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name string) string {
		t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(outside, path)); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(path)
	}
	write(outside, "blacklist ours\n")
	modprobe, firmware, modules := link("etc/modprobe.d/a.conf"), link("lib/firmware/a.bin"), link("lib/modules/1.0/a.ko")
	if m, err := readModprobe(root, []string{modprobe}); err != nil || len(m.blacklist) > 0 {
		t.Errorf("readModprobe = %v, %v: that is a file of another system", m, err)
	}
	if _, err := newArchive().firmware("a.bin", root, []string{firmware}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("firmware = %v, want that it is not there", err)
	}
	k := &kernel{root: root, dir: modules}
	if _, err := k.read("a.ko"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read = %v, want that it is not there", err)
	}

	write(filepath.Join(root, outside), "blacklist theirs\n")
	if m, err := readModprobe(root, []string{modprobe}); err != nil || !m.blacklist["theirs"] {
		t.Errorf("readModprobe = %v, %v, want their file", m, err)
	}
	if ok, err := newArchive().firmware("a.bin", root, []string{firmware}); !ok || err != nil {
		t.Errorf("firmware = %t, %v", ok, err)
	}
	if text, err := k.read("a.ko"); err != nil || string(text) != "blacklist theirs\n" {
		t.Errorf("read = %q, %v", text, err)
	}
}
