package latchkey_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestNothingIsBuilt: what is in the repository is source. A program that go
// build left in the root would be in every clone for ever.
func TestNothingIsBuilt(t *testing.T) {
	const most = 1 << 20
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("needs git, and a clone: %v", err)
	}
	for path := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue // removed and not committed yet, or a link
		}
		if info.Size() > most {
			t.Errorf("%s has %d bytes: it was built, or belongs elsewhere", path, info.Size())
		}
		head := make([]byte, 4)
		if f, err := os.Open(path); err == nil {
			_, _ = f.Read(head)
			f.Close()
		}
		if bytes.Equal(head, []byte("\x7fELF")) {
			t.Errorf("%s is a program", path)
		}
	}
}
