package bootentry_test

import (
	"os"
	"path/filepath"
	"testing"

	"latchkey/initramfs/bootentry"
)

// TestLinksBelowRoot: with the root of another system, its absolute links lead
// to its own boot entries.
func TestLinksBelowRoot(t *testing.T) {
	theirs := tree(t, map[string]string{"tries": "7"})
	root := tree(t, map[string]string{"etc/kernel/x": "", filepath.Join(theirs, "other"): ""})
	if err := os.Symlink(filepath.Join(theirs, "tries"), filepath.Join(root, "etc/kernel/tries")); err != nil {
		t.Fatal(err)
	}
	if n := bootentry.Tries(root); n != 0 {
		t.Errorf("Tries = %d: that is a file of another system", n)
	}
	if err := os.WriteFile(filepath.Join(root, theirs, "tries"), []byte("3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := bootentry.Tries(root); n != 3 {
		t.Errorf("Tries = %d, want 3", n)
	}
}
