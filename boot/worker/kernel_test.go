package worker

import (
	"os"
	"path/filepath"
	"testing"

	"latchkey/unlock/dm"
)

// The real System, as far as any machine has it.
func TestKernel(t *testing.T) {
	var k Kernel
	if n := k.FreeBytes(); n <= 0 {
		t.Errorf("FreeBytes = %d, want what /proc/meminfo says", n)
	}
	if n, ok := k.Number("/dev/null"); ok {
		t.Errorf("Number of /dev/null = %v, want none: it is no block device", n)
	}
	if n, ok := k.Number("/nothing"); ok || n != (dm.Number{}) {
		t.Errorf("Number of nothing = %v, %t", n, ok)
	}

	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := k.Open(file, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 7); err != nil {
		t.Error(err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("Sync = %v: a file has no cache to drop, and that is no error", err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 7); err != nil || b[0] != 'x' {
		t.Errorf("read back %q, %v", b, err)
	}
	if f, err := k.Open(file, false); err != nil {
		t.Error(err)
	} else if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a file that was opened to read takes a write")
	}
}
