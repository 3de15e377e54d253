package bootentry

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCompareVersions: by systemd's own word (systemd-analyze
// compare-versions, since 250) where it is.
func TestCompareVersions(t *testing.T) {
	ordered := []string{ // examples of UAPI.10, and names of ours
		"~1", "", "ab", "abb", "abc", "0001", "002", "12", "122", "122.9", "123~rc1", "123", "123-a", "123-a.1", "123-a1", "123-a1.1", "123-3", "123-3.1",
		"123^patch1", "123^1", "123.a-1", "123.1-1", "123a-1", "124",
	}
	names := []string{"latchkey-6.9.0.efi", "latchkey-6.12.8.efi", "latchkey-6.12.9~old.efi", "latchkey-6.12.9.efi", "latchkey-6.12.10-amd64.efi"}
	_, err := exec.LookPath("systemd-analyze")
	for _, list := range [][]string{ordered, names} {
		for i, a := range list {
			for j, b := range list {
				got, want := sign(compareVersions(a, b)), sign(i-j)
				if got != want {
					t.Errorf("%q against %q: %d, want %d", a, b, got, want)
				}
				if err != nil || i == 0 || j == 0 || i > j+1 || j > i+1 {
					continue // the neighbors are enough to run a program for
				}
				op := map[int]string{-1: "lt", 0: "eq", 1: "gt"}[got]
				if out, err := exec.Command("systemd-analyze", "compare-versions", "--", a, op, b).CombinedOutput(); err != nil {
					t.Errorf("systemd says that %q %s %q is wrong: %v %s", a, op, b, err, strings.TrimSpace(string(out)))
				}
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
