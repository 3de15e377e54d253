// Package deploy tests the recipes of this folder, by the tools that they are
// for.
package deploy

import (
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKairosOverlay: the overlay has Kairos' executable by its name, static,
// for the machines' processor, and nothing that is not named.
func TestKairosOverlay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	cmd := exec.Command("kairos/overlay", dir)
	cmd.Env = append(os.Environ(), "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var files []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	const program = "system/discovery/kcrypt-discovery-challenger"
	if want := []string{program, "usr/share/doc/latchkey/LICENSE"}; err != nil || !slices.Equal(files, want) {
		t.Fatalf("the overlay has %q (%v), want %q", files, err, want)
	}
	e, err := elf.Open(filepath.Join(dir, program))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if libraries, err := e.ImportedLibraries(); e.Machine != elf.EM_AARCH64 || err == nil && len(libraries) > 0 {
		t.Errorf("it is for %v, with the libraries %v", e.Machine, libraries)
	}
	info, err := os.Stat(filepath.Join(dir, program))
	if err != nil || info.Mode().Perm()&0o111 != 0o111 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
	if out, err := exec.Command("kairos/overlay").CombinedOutput(); err == nil || !strings.Contains(string(out), "usage: ") {
		t.Errorf("without a folder: %v %s", err, out)
	}
}
