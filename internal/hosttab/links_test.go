package hosttab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLinksBelowRoot: an absolute link of another system's crypttab leads to
// its own file, and one that has no target here to none.
func TestLinksBelowRoot(t *testing.T) {
	root := t.TempDir()
	theirs := filepath.Join(t.TempDir(), "crypttab")
	const line = "x UUID=y none\n"
	for _, err := range []error{
		os.MkdirAll(filepath.Join(root, "etc"), 0o700), os.WriteFile(theirs, []byte(line), 0o600),
		os.Symlink(theirs, filepath.Join(root, "etc/crypttab")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h := Host{Root: root}
	if lines, err := h.fields("/etc/crypttab", 2); err != nil || len(lines) != 0 || h.exists("/etc/crypttab") {
		t.Errorf("fields = %q, %v: that is a file of another system", lines, err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(root, theirs)), 0o700), os.WriteFile(filepath.Join(root, theirs), []byte(line), 0o600)); err != nil {
		t.Fatal(err)
	}
	if lines, err := h.fields("/etc/crypttab", 2); err != nil || len(lines) != 1 {
		t.Errorf("fields = %q, %v, want its line", lines, err)
	}
}
