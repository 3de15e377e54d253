package plan_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// linesFile has lines that others document or test, each with what is made
// of it indented below: the network in words, and "!" before each problem.
const linesFile = "testdata/lines.txt"

// TestNetLines is faults/network.md section 4: every line that
// dracut.cmdline(7), systemd-network-generator, nm-initrd-generator, Talos,
// initramfs-tools, PXELINUX and the kernel document. A wrong field is left
// out and named, and the line is kept. UPDATE=1 writes what is made of each;
// read it before it is committed.
func TestNetLines(t *testing.T) {
	want, err := os.ReadFile(linesFile)
	if err != nil {
		t.Fatal(err)
	}

	var got strings.Builder
	count := 0
	for line := range strings.Lines(string(want)) {
		switch {
		case strings.HasPrefix(line, "\t"):
			continue
		case strings.HasPrefix(line, "#") || line == "\n":
			got.WriteString(line)
			continue
		}

		count++
		got.WriteString(line)
		n, problems := parseNet(t, line)
		fmt.Fprintf(&got, "\t%s\n", n)
		for _, p := range problems {
			fmt.Fprintf(&got, "\t! %s\n", p.Reason)
		}
		if err := n.Check(); err != nil {
			t.Errorf("%s: Check = %v of what ParseNet made", strings.TrimSpace(line), err)
		}
	}

	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(linesFile, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("lines are read otherwise (-want +got), UPDATE=1 if that is right:\n%s", diff)
	}
	if count < 230 {
		t.Errorf("%d lines, want at least 230", count)
	}
}
