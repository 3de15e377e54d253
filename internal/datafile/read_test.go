package datafile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/datafile"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := datafile.Read(path, 4); string(b) != "four" || err != nil {
		t.Errorf("Read = %q, %v", b, err)
	}
	for path, want := range map[string]string{path: "it has more than 3 bytes", "/dev/zero": "it is a device", path + "x": "no such file", filepath.Dir(path): "is a directory"} {
		if b, err := datafile.Read(path, 3); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Read(%s) = %q, %v, want %q", path, b, err, want)
		}
	}
}

// TestReplaceNoDevice: what is no file stays.
func TestReplaceNoDevice(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", to); err != nil {
		t.Fatal(err)
	}
	if err := datafile.Replace(from, to); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("Replace of a device = %v", err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().IsRegular() {
		t.Errorf("it is %v, %v now", info, err)
	}
}
